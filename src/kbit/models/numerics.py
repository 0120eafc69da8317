"""In which numbers a model's packed layers multiply: 16-bit activations, or 8-bit ones on request."""

from typing import Any

from kbit.errors import ModelError, did_you_mean
from kbit.kernels import NUMERICS
from kbit.models.stored_weight import StoredWeight


def set_numerics(model: Any, numerics: str) -> None:
    """Have every packed layer multiply with these numerics from now on.

    Args:
        model: a loaded model.
        numerics: `a16`, activations as they are; `a8`, rounded to 8 bits in blocks of 64 before each product.

    Raises:
        ModelError: unknown numerics, or `a8` for a model without packed layers.
    """
    if numerics not in NUMERICS:
        raise ModelError(f"numerics {numerics!r}: {did_you_mean(numerics, NUMERICS)}")
    layers = [module for module in model.modules() if isinstance(module, StoredWeight)]
    if numerics != "a16" and not layers:
        raise ModelError(
            f"numerics {numerics!r} are for packed layers, and this model has none: quantise it first, "
            "or use a16"
        )
    for layer in layers:
        layer.numerics = numerics


def numerics_of(model: Any) -> str:
    """The numerics its packed layers multiply with; `a16` where there are none."""
    found = {module.numerics for module in model.modules() if isinstance(module, StoredWeight)}
    return "/".join(sorted(found)) or "a16"
