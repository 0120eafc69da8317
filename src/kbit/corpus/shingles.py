"""Shingles of a text, and the MinHash signature of a set of them.

Broder (1997), "On the resemblance and containment of documents".
"""

import functools

import numpy as np
import numpy.typing as npt

from kbit._text import shingles, signature
from kbit.corpus.document import Document
from kbit.errors import CorpusError

# 32 bands of 4 rows propose pairs: one at Jaccard 0.8 is missed with probability 5e-8.
BANDS, ROWS = 32, 4
WORDS = 5
Hashes = npt.NDArray[np.uint64]

_SPACE, _WORD, _MARK, _IDEOGRAPH = range(4)
# Scripts written without spaces: each character is a word, or a whole clause would be one.
_IDEOGRAPHS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x4DBF),  # CJK extension A
    (0x4E00, 0x9FFF),  # CJK
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),  # CJK extensions B and up
)


def shingle_hashes(text: str, words: int = WORDS) -> Hashes:
    """Sorted 64-bit hashes of the distinct shingles of a text; a shorter text is one shingle.

    A word is a run of letters, digits and underscores, or one other mark, or, in scripts written without
    spaces, one character.

    >>> [len(shingle_hashes(text)) for text in ("one two", "a b c d e f", "他把書放在桌上")]
    [1, 2, 3]
    """
    return shingles(text.encode(), _classes(), words)


def document_signature(hashes: Hashes) -> Hashes:
    """The MinHash signature, [BANDS * ROWS]: the least value of each of as many hash functions.

    Shingles are hashes already; an odd multiplier and an addend each (mod 2^64) re-order them.
    """
    return signature(hashes, _MULTIPLIERS, _ADDENDS)


def band_keys(hashes: Hashes) -> Hashes:
    """One number for each band of a signature, [BANDS]: two documents that share one are compared."""
    keys = np.zeros(BANDS, dtype=np.uint64)
    for row in document_signature(hashes).reshape(BANDS, ROWS).T:
        keys = _mix(keys + row)
    return keys


def jaccard(a: Hashes, b: Hashes) -> float:
    """Shared over all distinct shingles of two sorted sets."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def check_shingling(threshold: float, words: int) -> None:
    """Refuse a threshold or a length that means nothing.

    Raises:
        CorpusError: either is out of range.
    """
    if not 0 < threshold <= 1 or words < 1:
        raise CorpusError(
            f"deduplicate: threshold={threshold}, words={words}; a threshold lies in (0, 1], words from 1 up."
        )


def shingles_of(document: Document, words: int = WORDS) -> Hashes:
    """Shingles of a document."""
    return shingle_hashes(document.text, words)


@functools.cache
def _classes() -> npt.NDArray[np.uint8]:
    """What each code point is to the splitting into words; as for Python's `re`."""
    classes = np.fromiter(
        (
            _WORD if c.isalnum() or c == "_" else _SPACE if c.isspace() else _MARK
            for c in map(chr, range(0x110000))
        ),
        dtype=np.uint8,
        count=0x110000,
    )
    for first, last in _IDEOGRAPHS:
        span = classes[first : last + 1]
        span[span == _WORD] = _IDEOGRAPH
    return classes


def _mix(x: Hashes) -> Hashes:
    """The finaliser of SplitMix64: a bijection of 64-bit integers that looks random."""
    x = (x + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


_MULTIPLIERS: Hashes = _mix(np.arange(BANDS * ROWS, dtype=np.uint64)) | np.uint64(1)
_ADDENDS: Hashes = _mix(np.arange(1000, 1000 + BANDS * ROWS, dtype=np.uint64))
