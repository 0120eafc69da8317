"""Exact and near duplicates: MinHash over word shingles, every candidate checked exactly.

Broder (1997), "On the resemblance and containment of documents"; banding as in Leskovec, Rajaraman & Ullman,
*Mining of Massive Datasets*, section 3.4. 32 bands of 4 rows propose pairs (a pair at Jaccard 0.8 is missed
with probability 5e-8); a pair counts as a duplicate only by the exact Jaccard similarity of its shingles.
"""

import re
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kbit.corpus.document import Document
from kbit.errors import CorpusError

BANDS, ROWS = 32, 4
_WORD = re.compile(r"\w+|[^\w\s]")
_Hashes = npt.NDArray[np.uint64]


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


def deduplicate(documents: Iterable[Document], *, threshold: float = 0.8, words: int = 5) -> Deduplicated:
    """Keep the first of every group of equal or nearly equal documents.

    Args:
        documents: in order of preference: a later one is compared with those kept before it.
        threshold: Jaccard similarity of the sets of shingles, in (0, 1], from which two count as the same.
        words: length of a shingle in words (a word is a run of word characters, or one other mark).

    Returns:
        The documents kept and, for each one dropped, the document it repeats.

    >>> a = Document(name="a", text="the cat sat on the mat and slept")
    >>> b = Document(name="b", text="the cat sat on the mat  and slept")
    >>> [d.kept for d in deduplicate([a, b]).dropped]
    ['a']
    """
    if not 0 < threshold <= 1 or words < 1:
        raise CorpusError(
            f"deduplicate: threshold={threshold}, words={words}; a threshold lies in (0, 1], words from 1 up."
        )
    kept: list[Document] = []
    dropped: list[Duplicate] = []
    shingles_of: list[_Hashes] = []
    index: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for document in documents:
        shingles = shingle_hashes(document.text, words)
        bands = [(band, key.tobytes()) for band, key in enumerate(signature(shingles).reshape(BANDS, ROWS))]
        candidates = sorted({i for band in bands for i in index.get(band, ())})
        near = max(((jaccard(shingles, shingles_of[i]), -i) for i in candidates), default=(0.0, 0))
        if near[0] >= threshold:
            dropped.append(Duplicate(name=document.name, kept=kept[-near[1]].name, similarity=near[0]))
            continue
        for band in bands:
            index[band].append(len(kept))
        kept.append(document)
        shingles_of.append(shingles)
    return Deduplicated(kept=kept, dropped=dropped)


def shingle_hashes(text: str, words: int = 5) -> _Hashes:
    """Sorted 64-bit hashes of the distinct shingles of a text; a shorter text is one shingle."""
    found = _WORD.findall(text)
    code_of = {word: zlib.crc32(word.encode()) for word in set(found)}
    codes = np.array([code_of[word] for word in found], dtype=np.uint64)
    count = max(len(codes) - words + 1, 1)
    rolled = np.zeros(count, dtype=np.uint64)
    for offset in range(min(words, len(codes))):
        rolled = _mix(rolled + codes[offset : offset + count])
    return np.unique(rolled)


def signature(shingles: _Hashes) -> _Hashes:
    """The MinHash signature, [BANDS * ROWS]: the least value of each of as many hash functions.

    Shingles are hashes already; an odd multiplier and an addend each (mod 2^64) re-order them.
    """
    product = np.empty_like(shingles)
    least = np.empty(BANDS * ROWS, dtype=np.uint64)
    for i, (multiplier, addend) in enumerate(zip(_MULTIPLIERS, _ADDENDS, strict=True)):
        np.multiply(shingles, multiplier, out=product)
        np.add(product, addend, out=product)
        least[i] = product.min()
    return least


def jaccard(a: _Hashes, b: _Hashes) -> float:
    """Shared over all distinct shingles of two sorted sets."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def _mix(x: _Hashes) -> _Hashes:
    """The finaliser of SplitMix64: a bijection of 64-bit integers that looks random."""
    x = (x + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


_MULTIPLIERS: _Hashes = _mix(np.arange(BANDS * ROWS, dtype=np.uint64)) | np.uint64(1)
_ADDENDS: _Hashes = _mix(np.arange(1000, 1000 + BANDS * ROWS, dtype=np.uint64))
