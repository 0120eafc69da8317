"""Coders that can say, symbol by symbol, what may follow: what an arithmetic coder needs."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kbit.coders.code_lengths import Coder

Floats = NDArray[np.float64]
BYTE_SYMBOLS = 256


class Predictor(Protocol):
    """Stands at one place of a text; the same calls give the same floats, bit for bit."""

    def probabilities(self) -> Floats:
        """Probability of each symbol that can follow, float64 [symbols]; they sum to one."""
        ...

    def advance(self, symbol: int) -> None:
        """Go past a symbol."""
        ...


@runtime_checkable
class PredictiveCoder(Coder, Protocol):
    """A coder that predicts symbols: bytes, or the tokens of a tokeniser."""

    def to_symbols(self, content: bytes) -> Sequence[int]:
        """The symbols of a text.

        Raises:
            CoderError: its symbols would not give the text back.
        """
        ...

    def to_bytes(self, symbols: Sequence[int]) -> bytes:
        """The text of symbols."""
        ...

    def predictor(self) -> Predictor:
        """A predictor at the beginning of a document."""
        ...


class ByteSymbols:
    """Part of coders whose symbols are the bytes themselves: any content will do, text or not."""

    def to_symbols(self, content: bytes) -> Sequence[int]:
        """The bytes."""
        return content

    def to_bytes(self, symbols: Sequence[int]) -> bytes:
        """The bytes."""
        return bytes(symbols)
