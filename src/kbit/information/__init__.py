"""What code lengths say: gain, divergence, intervals.

Divergence runs models, so it loads torch, on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kbit.information.entropy_of_counts import Entropy, entropy
from kbit.information.estimate import Estimate, paired_bootstrap
from kbit.information.gain import bits_per_byte, bits_per_character, break_even_bytes, gain

if TYPE_CHECKING:
    from kbit.information.token_divergence import Divergence as Divergence
    from kbit.information.token_divergence import divergence as divergence

__all__ = [
    "Divergence",
    "Entropy",
    "Estimate",
    "bits_per_byte",
    "bits_per_character",
    "break_even_bytes",
    "divergence",
    "entropy",
    "gain",
    "paired_bootstrap",
]


def __getattr__(name: str) -> Any:
    if name in ("Divergence", "divergence"):
        return getattr(importlib.import_module("kbit.information.token_divergence"), name)
    raise AttributeError(f"module 'kbit.information' has no attribute {name!r}")
