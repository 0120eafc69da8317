"""Which documents repeat an earlier one, found from the bands of their signatures.

Documents that share a band (Leskovec, Rajaraman & Ullman, *Mining of Massive Datasets*, section 3.4) are
candidates; only the exact Jaccard similarity of their shingles decides. Bands are sorted one after the
other, so memory grows by some bytes for each document, not with the text.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from kbit.corpus.shingles import BANDS, Hashes, jaccard

SHINGLE_SETS_HELD = 256
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """Document `document` repeats the earlier, kept document `kept`."""

    document: int
    kept: int
    similarity: float


def near_duplicates(
    band: Callable[[int], Hashes],
    shingles: Callable[[int], Hashes],
    *,
    alive: npt.NDArray[np.bool_],
    threshold: float,
) -> Iterator[Repeat]:
    """Documents that resemble one kept before them, in their order.

    Args:
        band: the keys of band b of all documents, uint64 [documents].
        shingles: the shingles of a document, asked for when two are compared.
        alive: which documents take part.
        threshold: similarity from which a document repeats another.
    """
    documents, groups = _groups(band, alive)
    held = lru_cache(SHINGLE_SETS_HELD)(shingles)
    members: dict[int, list[int]] = {}
    starts = np.flatnonzero(np.concatenate(([True], documents[1:] != documents[:-1])))
    for start, end in zip(starts, [*starts[1:], len(documents)], strict=True):
        if start == end:
            break  # no two documents share a band
        document, its_groups = int(documents[start]), groups[start:end].tolist()
        candidates = sorted({other for group in its_groups for other in members.get(group, ())})
        best = max(((jaccard(held(document), held(c)), -c) for c in candidates), default=(0.0, 0))
        if best[0] >= threshold:
            yield Repeat(document=document, kept=-best[1], similarity=best[0])
            continue
        for group in its_groups:
            members.setdefault(group, []).append(document)


def _groups(band: Callable[[int], Hashes], alive: npt.NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """Pairs (document, group) for every band value that two documents share, sorted by document."""
    numbers = np.flatnonzero(alive)
    found: list[npt.NDArray[np.int32]] = []
    group_of: list[Numbers] = []
    groups = 0
    for b in range(BANDS):
        keys = band(b)[numbers]
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        fresh = np.concatenate(([True], ordered[1:] != ordered[:-1])) if len(ordered) else np.zeros(0, bool)
        run = np.cumsum(fresh) - 1
        shared = np.bincount(run)[run] > 1 if len(run) else fresh
        found.append(numbers[order[shared]].astype(np.int32))
        group_of.append(groups + run[shared])
        groups += len(ordered)
    documents = np.concatenate(found).astype(np.int64)
    order = np.argsort(documents, kind="stable")
    return documents[order], np.concatenate(group_of)[order]
