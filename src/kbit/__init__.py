"""kbit: k-bit inference scaling laws of language models, with both axes in bits.

Importing `kbit` imports neither torch nor transformers; names below load on first use.
"""

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

__version__ = _version("kbit")

# public name -> module that defines it
_LAZY = {
    "load": "kbit.models.load",
    "quantize_model": "kbit.quantize.model",
}

if TYPE_CHECKING:
    from kbit.models.load import load as load
    from kbit.quantize.model import quantize_model as quantize_model

__all__ = ["__version__", *sorted(_LAZY)]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'kbit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
