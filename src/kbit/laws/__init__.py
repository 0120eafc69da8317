"""Scaling-law forms, fits and their intervals. NumPy and SciPy only."""

from kbit.laws.fit import fit
from kbit.laws.form import Form, Parameter
from kbit.laws.forms import FORMS, form, listing
from kbit.laws.result import Fit, HeldOut, Prediction
from kbit.laws.saved import from_json, to_json

__all__ = [
    "FORMS",
    "Fit",
    "Form",
    "HeldOut",
    "Parameter",
    "Prediction",
    "fit",
    "form",
    "from_json",
    "listing",
    "to_json",
]
