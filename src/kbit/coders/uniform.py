"""Eight bits for every byte: what is known by who knows nothing."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from kbit.coders.code_lengths import CodeLengths, Json, of_bytes
from kbit.coders.predictor import BYTE_SYMBOLS, ByteSymbols, Floats
from kbit.corpus import Document


class UniformCoder(ByteSymbols):
    """Each byte is one of 256, all alike.

    >>> [c.bits for c in UniformCoder().code_lengths([Document(name="a", text="é!")])]
    [24.0]
    """

    name = "uniform"
    version = 1

    @property
    def settings(self) -> Mapping[str, Json]:
        """There is nothing to set."""
        return {}

    def code_lengths(self, documents: Iterable[Document]) -> Iterator[CodeLengths]:
        """Eight bits a byte."""
        for document in documents:
            yield of_bytes(document, 8.0 * document.bytes)

    def predictor(self) -> "UniformPredictor":
        """Knows nothing anywhere."""
        return UniformPredictor()


class UniformPredictor:
    """One 256th each."""

    def probabilities(self) -> Floats:
        """One 256th each."""
        return np.full(BYTE_SYMBOLS, 1 / BYTE_SYMBOLS)

    def advance(self, symbol: int) -> None:
        """Nothing is learnt."""
