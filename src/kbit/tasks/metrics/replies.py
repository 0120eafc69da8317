"""Bits of human replies, and how various the model's own are."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from kbit.errors import CorpusError
from kbit.information.resample import Floats
from kbit.information.units import words
from kbit.tasks.item import Answer, Item
from kbit.tasks.metrics.metric import Columns, Metric


def _bits(items: Sequence[Item], answers: Sequence[Answer], language: str) -> Floats:
    found = []
    for item, answer in zip(items, answers, strict=True):
        if answer.reference_bits is None:
            raise CorpusError(f"{item.source}: no bits of the reply were measured.")
        found.append((answer.reference_bits, answer.reference_bytes))
    return np.array(found, dtype=np.float64)


def distinct_columns(size: int) -> Columns:
    """Different n-grams of all texts, shared out among their occurrences; and all n-grams.

    An n-gram that occurs c times counts 1/c each time, so that the sums are exactly those of distinct-n,
    whatever the order of texts.
    """

    def columns(items: Sequence[Item], answers: Sequence[Answer], language: str) -> Floats:
        grams = [_grams(answer.text, size) for answer in answers]
        counts = Counter(gram for text in grams for gram in text)
        shares = [sum(1 / counts[gram] for gram in text) for text in grams]
        return np.column_stack([shares, [len(text) for text in grams]]).astype(np.float64)

    return columns


def _grams(text: str, size: int) -> list[tuple[str, ...]]:
    units = words(text.lower())
    return [tuple(units[i : i + size]) for i in range(len(units) - size + 1)]


REPLY_BITS = Metric(
    name="bits_per_byte",
    what="bits of the human reply after the turns before it",
    unit="bits/byte",
    columns=_bits,
    higher_is_better=False,
)


def distinct(size: int) -> Metric:
    """distinct-n (Li et al. 2016): different n-grams over all, of all replies; falls as there are more."""
    return Metric(
        name=f"distinct_{size}",
        what=f"different {size}-grams over all, of the replies",
        unit="0 to 1",
        columns=distinct_columns(size),
        higher_is_better=None,
    )


DISTINCT_1, DISTINCT_2 = distinct(1), distinct(2)
