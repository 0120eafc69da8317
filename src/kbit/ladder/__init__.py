"""What ships with kbit: seven trained rungs, and a text none of them has seen."""

from kbit.ladder.models import listing, manifest, rungs
from kbit.ladder.texts import held_out, train

__all__ = ["held_out", "listing", "manifest", "rungs", "train"]
