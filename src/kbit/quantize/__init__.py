"""Whole models to k bits."""

from kbit.quantize.calibration.prepare import calibration_for
from kbit.quantize.calibration.text import Calibration
from kbit.quantize.method import METHODS, QuantizationMethod, listing
from kbit.quantize.model import QuantizeReport, quantize_model
from kbit.quantize.plan import Kept

__all__ = [
    "METHODS",
    "Calibration",
    "Kept",
    "QuantizationMethod",
    "QuantizeReport",
    "calibration_for",
    "listing",
    "quantize_model",
]
