"""Bytes by their frequency after the bytes before them, learnt while coding."""

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from kbit.coders.code_lengths import CodeLengths, Json, of_bytes
from kbit.coders.predictor import BYTE_SYMBOLS, ByteSymbols, Floats
from kbit.corpus import Document
from kbit.errors import UsageError

MOST_ORDER = 32
BEGIN = 256  # stands before a document, as often as a context asks for
Integers = NDArray[np.int64]


class KtCoder(ByteSymbols):
    """Adaptive code of order K with the Krichevsky-Trofimov estimator, begun anew in each document.

    After a context of K bytes that was seen N times, n of them before w, the next byte is w with probability
    (n + 1/2) / (N + 128). So it needs no baseline text, knows nothing of any document before it starts, and
    pays for learning in every context it meets: a high order is dear until a document is very long.

    Source: Krichevsky & Trofimov, "The performance of universal encoding", IEEE Trans. Inf. Theory 27 (1981).

    >>> [round(c.bits, 3) for c in KtCoder(0).code_lengths([Document(name="a", text="aa")])]
    [14.426]
    """

    version = 1

    def __init__(self, order: int) -> None:
        """Order: bytes of context, 0 to 32."""
        if not 0 <= order <= MOST_ORDER:
            raise UsageError(f"an adaptive code of order {order} is asked for; orders are 0 to {MOST_ORDER}.")
        self.order = order

    @property
    def name(self) -> str:
        """`kt-2` for order two."""
        return f"kt-{self.order}"

    @property
    def settings(self) -> Mapping[str, Json]:
        """Which estimator, its order, and where it starts anew."""
        return {"estimator": "krichevsky-trofimov", "order": self.order, "reset": "document"}

    def code_lengths(self, documents: Iterable[Document]) -> Iterator[CodeLengths]:
        """Code length of each document, from how often each byte follows each context."""
        for document in documents:
            content = np.frombuffer(document.text.encode(), dtype=np.uint8)
            yield of_bytes(document, kt_sequence_bits(content, self.order))

    def predictor(self) -> "KtPredictor":
        """Learns as it goes."""
        return KtPredictor(self.order)


def kt_sequence_bits(content: NDArray[np.uint8], order: int, *, symbols: int = BYTE_SYMBOLS) -> float:
    """Bits of a sequence under the adaptive estimator of an order.

    Within one context the order of what followed does not matter, so counts are enough.

    Args:
        content: the sequence, values below `symbols`.
        order: symbols of context.
        symbols: size of the alphabet, 2 to 256. A source of two symbols needs no code for 256.

    >>> round(kt_sequence_bits(np.array([0, 1, 0, 1, 0, 1], dtype=np.uint8), 1, symbols=2), 6)
    4.093109
    """
    if not len(content):
        return 0.0
    followed: Integers = _contexts(content, order) * symbols + content.astype(np.int64)
    pairs, counts = np.unique(followed, return_counts=True)
    first = np.flatnonzero(np.concatenate(([True], np.diff(pairs // symbols) != 0)))
    totals = np.add.reduceat(counts, first).astype(np.float64)
    half = symbols / 2
    nats = np.sum(gammaln(totals + half) - gammaln(half)) - np.sum(gammaln(counts + 0.5) - gammaln(0.5))
    return float(nats) / math.log(2)


def _contexts(content: NDArray[np.uint8], order: int) -> Integers:
    """A number for the `order` symbols before each place, equal where they are equal; [length]."""
    padded = np.concatenate(
        (np.full(order, BEGIN, dtype=np.int64), content[: len(content) - 1].astype(np.int64))
    )
    numbers = np.zeros(len(padded), dtype=np.int64)
    most = 1
    for _ in range(order):
        if most > 1 << 44:  # the next step, and that with the symbol, must stay below 2^63
            distinct, numbers = np.unique(numbers, return_inverse=True)
            most = len(distinct)
        numbers[1:] = numbers[:-1] * (BEGIN + 1) + padded[1:]
        numbers[0] = padded[0]
        most *= BEGIN + 1
    if order == 0:
        return np.zeros(len(content), dtype=np.int64)
    if most > 1 << 54:
        numbers = np.unique(numbers, return_inverse=True)[1]
    return numbers[order - 1 :]


class KtPredictor:
    """The adaptive estimator at one place of a text."""

    def __init__(self, order: int) -> None:
        self._order = order
        self._context = (BEGIN,) * order
        self._seen: dict[tuple[int, ...], dict[int, int]] = {}

    def probabilities(self) -> Floats:
        """(n + 1/2) / (N + 128) for each of the 256 bytes."""
        counts = self._seen.get(self._context, {})
        weights = np.full(BYTE_SYMBOLS, 0.5)
        for symbol, count in counts.items():
            weights[symbol] += count
        result: Floats = weights / (sum(counts.values()) + BYTE_SYMBOLS / 2)
        return result

    def advance(self, symbol: int) -> None:
        """Count a byte."""
        counts = self._seen.setdefault(self._context, {})
        counts[symbol] = counts.get(symbol, 0) + 1
        if self._order:
            self._context = (*self._context[1:], symbol)
