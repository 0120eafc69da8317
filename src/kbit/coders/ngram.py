"""Byte n-grams fitted to a baseline text: the headline baseline, of order six."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Self

import numpy as np

from kbit.coders.code_lengths import CodeLengths, Json, of_bytes
from kbit.coders.grams import (
    MOST_BYTES,
    Batch,
    GramCounter,
    batches,
    begin_positions,
    mask,
    pack,
    plain_positions,
)
from kbit.coders.kneser_ney import SYMBOLS, Floats, GramTable, KneserNey, fit
from kbit.coders.predictor import ByteSymbols
from kbit.corpus import Document, content_hash
from kbit.errors import CoderError, UsageError

HEADLINE_ORDER = 6


class NgramCoder(ByteSymbols):
    """Interpolated modified Kneser-Ney over bytes (`kbit.coders.kneser_ney` has the formulas).

    Documents are apart: counting and coding begin each with ^, a symbol that is no byte, and no context
    reaches past it. The end of a document is not coded. Unseen bytes keep a probability, so any text has a
    finite code length.
    """

    version = 1

    def __init__(self, model: KneserNey, *, baseline_hash: str) -> None:
        self.model = model
        self.baseline_hash = baseline_hash

    @classmethod
    def fit(cls, documents: Iterable[Document], order: int = HEADLINE_ORDER) -> Self:
        """Fit to a baseline text, in memory that grows with its distinct n-grams.

        Args:
            documents: the baseline text; read once.
            order: symbols of the longest gram, 1 to 8.

        Raises:
            UsageError: the order is out of range.
            CoderError: the text has no bytes.
        """
        if not 1 <= order <= MOST_BYTES:
            raise UsageError(f"an n-gram of order {order} is asked for; orders are 1 to {MOST_BYTES}")
        counter = GramCounter(order)
        baseline_hash = content_hash(_counted(documents, counter))
        if not counter.bytes:
            raise CoderError(
                "the baseline text has no bytes, so no n-gram can be fitted to it. "
                "Give text with --baseline-text, or leave this baseline out."
            )
        return cls(fit(counter), baseline_hash=baseline_hash)

    @property
    def order(self) -> int:
        """Symbols of the longest gram."""
        return self.model.order

    @property
    def name(self) -> str:
        """`kneser-ney-6` for order six."""
        return f"kneser-ney-{self.order}"

    @property
    def settings(self) -> Mapping[str, Json]:
        """Order, smoothing, and the hash of the text it was fitted to."""
        return {
            "order": self.order,
            "unit": "byte",
            "smoothing": "interpolated modified Kneser-Ney",
            "baseline_text": self.baseline_hash,
        }

    def code_lengths(self, documents: Iterable[Document]) -> Iterator[CodeLengths]:
        """Code length of each document, streamed."""
        carried = 0.0
        for batch in batches(documents, lead=self.order - 1):
            # Extended precision, so that a document's bits do not depend on those before it in the batch.
            sums = np.concatenate(([0.0], np.cumsum(self._bits(batch), dtype=np.longdouble)))
            bits = np.diff(sums[np.maximum(batch.starts - batch.lead, 0)]) + carried
            carried = float(bits[0]) if batch.unfinished else 0.0
            if not batch.unfinished:
                for document, its_bits in zip(batch.documents, bits, strict=True):
                    yield of_bytes(document, float(its_bits))

    def byte_bits(self, document: Document) -> Floats:
        """Bits of each byte of a document; they sum to its code length."""
        return np.concatenate([self._bits(batch) for batch in batches([document], lead=self.order - 1)])

    def next_byte(self, before: bytes) -> Floats:
        """Probability of each of the 256 bytes after the bytes of a document so far."""
        context = before[-(self.order - 1) :] if self.order > 1 else b""
        begin = len(before) < self.order - 1
        keys = np.uint64(int.from_bytes(context, "big") << 8) + np.arange(SYMBOLS, dtype=np.uint64)
        return self.model.probability(keys, len(context) + 1 + begin, begin=begin)

    def predictor(self) -> "NgramPredictor":
        """The model at the beginning of a document."""
        return NgramPredictor(self.model)

    def _bits(self, batch: Batch) -> Floats:
        """Bits of each byte of a batch, those of its lead left out."""
        keys = pack(batch.data, self.order)
        probability = np.empty(len(keys))
        plain = plain_positions(batch, self.order)
        # Equal grams have equal probabilities, and sorted ones are found faster.
        distinct, inverse = np.unique(keys[plain], return_inverse=True)
        probability[plain] = self.model.probability(distinct, self.order)[inverse]
        for m in range(2, self.order + 1):
            at = begin_positions(batch, m)
            probability[at] = self.model.probability(keys[at] & mask(m - 1), m, begin=True)
        bits: Floats = -np.log2(probability[batch.lead :])
        return bits


class NgramPredictor:
    """The n-gram at one place of a document."""

    def __init__(self, model: KneserNey) -> None:
        self._model = model
        self._before = b""
        self._at_begin = model.order > 1

    def probabilities(self) -> Floats:
        """Probability of each of the 256 bytes, from the lowest order up."""
        model, before = self._model, self._before
        result = model.unigram.copy()
        for m in range(2, model.order + 1):
            if m - 1 <= len(before):
                _raise_order(result, model.plain[m], before[len(before) - m + 1 :])
            elif m - 2 == len(before) and self._at_begin:
                _raise_order(result, model.begin[m], before)
        return result

    def advance(self, symbol: int) -> None:
        """Go past a byte."""
        longest = self._model.order - 1
        self._at_begin = self._at_begin and len(self._before) + 1 < longest
        self._before = (self._before + bytes([symbol]))[-longest:] if longest else b""


def _raise_order(probability: Floats, table: GramTable, context: bytes) -> None:
    """From the probabilities of one order less to those after a context, in place."""
    key = int.from_bytes(context, "big")
    contexts = table.contexts
    at = int(np.searchsorted(contexts, np.uint64(key)))
    if at == len(contexts) or int(contexts[at]) != key:
        return
    first, last = np.searchsorted(table.keys, np.array([key << 8, (key << 8) + 255], dtype=np.uint64))
    last += int(last < len(table.keys) and int(table.keys[last]) == (key << 8) + 255)
    probability *= table.backoff[at]
    seen = (table.keys[first:last] & mask(1)).astype(np.intp)
    probability[seen] = table.probability[first:last]


def _counted(documents: Iterable[Document], counter: GramCounter) -> Iterator[Document]:
    """Pass documents on, counting their grams: one reading gives both the counts and the hash."""
    for batch in batches(documents, lead=counter.order - 1):
        counter.add(batch)
        if not batch.unfinished:
            yield from batch.documents
