"""Training and held-out documents, by a stable hash of a name."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kbit.corpus.document import Document
from kbit.errors import CorpusError


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Documents to train on, and documents no training has seen."""

    training: list[Document]
    held_out: list[Document]


def position(key: str) -> float:
    """Where a key lies in [0, 1): the first 53 bits of its SHA-256, the same for all time.

    >>> round(position("json"), 6)
    0.010698
    """
    return (int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 11) / 2**53


def split_by_hash(
    documents: Iterable[Document], *, held_out_share: float, key: Callable[[Document], str] | None = None
) -> Split:
    """Hold out the documents whose key's position lies below a share.

    A document's side depends on its own key alone, so adding or removing documents never moves another, and
    a larger share holds out all that a smaller one did.

    Args:
        documents: any documents, already without duplicates.
        held_out_share: expected share of keys held out, in [0, 1].
        key: what documents that belong together share (a title, a module); by default the name.
    """
    if not 0 <= held_out_share <= 1:
        raise CorpusError(f"held_out_share is {held_out_share}; give a share from 0 to 1.")
    split = Split(training=[], held_out=[])
    for document in documents:
        held_out = position(key(document) if key else document.name) < held_out_share
        (split.held_out if held_out else split.training).append(document)
    return split
