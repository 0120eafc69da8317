"""Byte n-grams as integers: packed, counted, merged.

An n-gram of up to eight bytes is one unsigned 64-bit integer, its last byte lowest. So dropping the first
byte is a mask, dropping the last a shift, and grams with one context lie side by side when sorted.

A document begins with a begin symbol, written ^. It is no byte, is never predicted, and stands only first
in a gram; a gram `^ab` is kept as the integer of `ab` in a table of its own.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kbit.corpus import Document

Keys = NDArray[np.uint64]
MOST_BYTES = 8
BATCH_BYTES = 1 << 22


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Some documents laid end to end, or a piece of one long document."""

    documents: list[Document]
    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    """Where each document starts, and at last the end: documents + 1 of them."""
    lead: int = 0
    """Bytes at the front that an earlier piece of the document held: context here, already done."""
    unfinished: bool = False
    """Whether the document goes on in the next batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GramCounts:
    """Distinct grams, sorted, and how often each was seen."""

    keys: Keys
    counts: NDArray[np.int64]


def batches(
    documents: Iterable[Document], *, lead: int = 0, most_bytes: int = BATCH_BYTES
) -> Iterator[Batch]:
    """Lay documents end to end, as many as fit; a longer one comes alone, in pieces.

    Args:
        documents: read as the batches are asked for.
        lead: bytes of the piece before that each further piece of a document repeats.
        most_bytes: the most new bytes of a batch.
    """
    held: list[Document] = []
    texts: list[bytes] = []
    size = 0
    for document in documents:
        text = document.text.encode()
        if held and size + len(text) > most_bytes:
            yield _batch(held, texts)
            held, texts, size = [], [], 0
        if len(text) > most_bytes:
            yield from _pieces(document, text, lead=lead, most_bytes=most_bytes)
            continue
        held.append(document)
        texts.append(text)
        size += len(text)
    if held:
        yield _batch(held, texts)


def _batch(documents: list[Document], texts: list[bytes]) -> Batch:
    starts = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in texts], out=starts[1:])
    return Batch(documents=documents, data=np.frombuffer(b"".join(texts), dtype=np.uint8), starts=starts)


def _pieces(document: Document, text: bytes, *, lead: int, most_bytes: int) -> Iterator[Batch]:
    data = np.frombuffer(text, dtype=np.uint8)
    for start in range(0, len(data), most_bytes):
        before = min(lead, start)
        piece = data[start - before : start + most_bytes]
        yield Batch(
            documents=[document],
            data=piece,
            starts=np.array([0, len(piece)]),
            lead=before,
            unfinished=start + most_bytes < len(data),
        )


def mask(order: int) -> np.uint64:
    """The bits of the last `order` bytes of a gram."""
    return np.uint64((1 << (8 * order)) - 1)


def pack(data: NDArray[np.uint8], order: int) -> Keys:
    """The gram of `order` bytes that ends at each byte; near the beginning, of as many as there are."""
    keys = data.astype(np.uint64)
    for back in range(1, order):
        keys[back:] |= data[:-back].astype(np.uint64) << np.uint64(8 * back)
    return keys


def plain_positions(batch: Batch, order: int) -> NDArray[np.bool_]:
    """Where a gram of `order` bytes ends without crossing the beginning of its document."""
    inside = np.ones(len(batch.data), dtype=np.bool_)
    inside[: batch.lead] = False
    for m in range(2, order + 1):
        inside[begin_positions(batch, m)] = False
    return inside


def begin_positions(batch: Batch, order: int) -> NDArray[np.int64]:
    """Where the gram of ^ and `order - 1` bytes ends, for each document long enough that begins here."""
    if batch.lead:
        return np.zeros(0, dtype=np.int64)
    ends = batch.starts[:-1] + (order - 2)
    return ends[ends < batch.starts[1:]]


def count(keys: Keys) -> GramCounts:
    """Count grams, in any order."""
    ordered = np.sort(keys)
    first = _firsts(ordered)
    return GramCounts(keys=ordered[first], counts=np.diff(first, append=len(ordered)))


def merge(parts: list[GramCounts]) -> GramCounts:
    """Add up counts of the same grams."""
    if len(parts) == 1:
        return parts[0]
    keys = np.concatenate([part.keys for part in parts])
    order = np.argsort(keys, kind="stable")  # two sorted runs after the other: nearly linear
    keys = keys[order]
    first = _firsts(keys)
    counts = np.concatenate([part.counts for part in parts])[order]
    return GramCounts(keys=keys[first], counts=np.add.reduceat(counts, first) if len(first) else counts)


def _firsts(ordered: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where each run of equal values starts."""
    if not len(ordered):
        return np.zeros(0, dtype=np.int64)
    return np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1)).astype(np.int64)


class GramCounter:
    """Counts plain grams of the highest order, and begin grams of every order, a batch at a time.

    Memory grows with the distinct grams and one batch, not with the text.
    """

    def __init__(self, order: int) -> None:
        self.order = order
        self.bytes = 0
        self._plain: list[GramCounts] = []
        self._begin: dict[int, list[GramCounts]] = {m: [] for m in range(2, order + 1)}

    def add(self, batch: Batch) -> None:
        """Count the grams of a batch."""
        self.bytes += len(batch.data) - batch.lead
        keys = pack(batch.data, self.order)
        for m, parts in self._begin.items():
            parts.append(count(keys[begin_positions(batch, m)] & mask(m - 1)))
            self._begin[m] = _settle(parts)
        self._plain.append(count(keys[plain_positions(batch, self.order)]))
        self._plain = _settle(self._plain)

    def plain(self) -> GramCounts:
        """Grams of `order` bytes."""
        self._plain = [merge(self._plain)]
        return self._plain[0]

    def begin(self, order: int) -> GramCounts:
        """Grams of ^ and `order - 1` bytes."""
        self._begin[order] = [merge(self._begin[order])]
        return self._begin[order][0]


def _settle(parts: list[GramCounts]) -> list[GramCounts]:
    """Merge the newest parts while the last is not much smaller than the one before it."""
    while len(parts) > 1 and 2 * len(parts[-1].keys) > len(parts[-2].keys):
        parts = [*parts[:-2], merge(parts[-2:])]
    return parts
