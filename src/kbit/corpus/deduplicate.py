"""Exact and near duplicates among documents in memory (`kbit.corpus.near` tells how they are found)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kbit.corpus.document import Document
from kbit.corpus.near import near_duplicates
from kbit.corpus.shingles import BANDS, WORDS, band_keys, check_shingling, shingle_hashes


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicate:
    """A document that was left out, and why."""

    name: str
    kept: str
    similarity: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Deduplicated:
    """What was kept, in its order, and what was dropped."""

    kept: list[Document]
    dropped: list[Duplicate]


def deduplicate(documents: Iterable[Document], *, threshold: float = 0.8, words: int = WORDS) -> Deduplicated:
    """Keep the first of every group of equal or nearly equal documents.

    Args:
        documents: in order of preference: a later one is compared with those kept before it.
        threshold: Jaccard similarity of the sets of shingles, in (0, 1], from which two count as the same.
        words: length of a shingle in words (see `kbit.corpus.shingles`).

    Returns:
        The documents kept and, for each one dropped, the document it repeats.

    >>> a = Document(name="a", text="the cat sat on the mat and slept")
    >>> b = Document(name="b", text="the cat sat on the mat  and slept")
    >>> [d.kept for d in deduplicate([a, b]).dropped]
    ['a']
    """
    check_shingling(threshold, words)
    held = list(documents)
    bands = np.array([band_keys(shingle_hashes(d.text, words)) for d in held], dtype=np.uint64)
    bands = np.ascontiguousarray(bands.reshape(-1, BANDS).T)
    repeats = near_duplicates(
        lambda b: bands[b],
        lambda i: shingle_hashes(held[i].text, words),
        alive=np.ones(len(held), dtype=np.bool_),
        threshold=threshold,
    )
    dropped = {
        repeat.document: Duplicate(
            name=held[repeat.document].name, kept=held[repeat.kept].name, similarity=repeat.similarity
        )
        for repeat in repeats
    }
    return Deduplicated(
        kept=[document for i, document in enumerate(held) if i not in dropped], dropped=list(dropped.values())
    )
