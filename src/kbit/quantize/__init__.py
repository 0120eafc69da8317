"""Whole models to k bits."""

from kbit.quantize.method import METHODS, QuantizationMethod, listing
from kbit.quantize.model import QuantizeReport, quantize_model
from kbit.quantize.plan import Kept

__all__ = ["METHODS", "Kept", "QuantizationMethod", "QuantizeReport", "listing", "quantize_model"]
