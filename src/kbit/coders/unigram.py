"""Bytes by their frequency, learnt while coding."""

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from scipy.special import gammaln

from kbit.coders.code_lengths import CodeLengths, Json, of_bytes
from kbit.coders.kt import KtPredictor
from kbit.coders.predictor import ByteSymbols
from kbit.corpus import Document

SYMBOLS = 256


class UnigramCoder(ByteSymbols):
    """Adaptive order-0 code over bytes with the Krichevsky-Trofimov estimator, begun anew in each document.

    After N bytes of which n were w, the next is w with probability (n + 1/2) / (N + 128). So it needs no
    baseline text, knows nothing of any document before it starts, and pays for learning: about
    (255/2) log2(N/256) bits, which on a short document is most of the way back to eight bits a byte.

    Source: Krichevsky & Trofimov, "The performance of universal encoding", IEEE Trans. Inf. Theory 27 (1981).

    >>> [round(c.bits, 3) for c in UnigramCoder().code_lengths([Document(name="a", text="aa")])]
    [14.426]
    """

    name = "unigram"
    version = 1

    @property
    def settings(self) -> Mapping[str, Json]:
        """Which estimator, and where it starts anew."""
        return {"estimator": "krichevsky-trofimov", "order": 0, "reset": "document"}

    def code_lengths(self, documents: Iterable[Document]) -> Iterator[CodeLengths]:
        """Code length of each document from its byte counts: the order of bytes does not matter."""
        for document in documents:
            counts = np.bincount(np.frombuffer(document.text.encode(), dtype=np.uint8), minlength=SYMBOLS)
            yield of_bytes(document, kt_bits(counts))

    def predictor(self) -> KtPredictor:
        """Learns as it goes."""
        return KtPredictor(0)


def kt_bits(counts: np.ndarray) -> float:
    """Bits of a sequence with these counts under the adaptive estimator, in any order.

    Args:
        counts: occurrences of each symbol, the unseen ones included.

    >>> round(kt_bits(np.array([3, 1])), 6)  # 1/2 · 3/4 · 5/6 · 1/8
    4.678072
    """
    seen = counts[counts > 0].astype(np.float64)
    half = len(counts) / 2
    nats = gammaln(seen.sum() + half) - gammaln(half) - np.sum(gammaln(seen + 0.5) - gammaln(0.5))
    return float(nats) / math.log(2)
