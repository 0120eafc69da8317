"""Arithmetic coding: numbers of bits that are no whole numbers, paid to within two bytes for a whole text.

The coder keeps an interval [low, low + range) of 64-bit arithmetic on an endless binary fraction; a symbol of
probability p narrows it to its share. Leading bytes that can no longer change are put out, a carry runs back
through them. Probabilities are whole numbers of 2^-32.

Sources: Martin, "Range encoding" (1979); Witten, Neal & Cleary, "Arithmetic coding for data compression"
(CACM 30, 1987).
"""

import numpy as np
from numpy.typing import NDArray

from kbit.coders.predictor import Floats
from kbit.errors import CoderError

SCALE_BITS = 32
SCALE = 1 << SCALE_BITS
_TOP, _FULL = 1 << 56, 1 << 64


def cumulative_frequencies(probability: Floats) -> NDArray[np.int64]:
    """Whole frequencies that sum to 2^32, each at least one; cumulative, int64 [symbols + 1].

    A symbol's cost grows by at most log2(1 + symbols / 2^32 / p) bits: nothing that is seen.

    Raises:
        CoderError: a probability is not a number, or they do not sum to one.
    """
    total = float(probability.sum())
    if not abs(total - 1) < 1e-3 or float(probability.min()) < 0:
        raise CoderError(
            f"the probabilities of what can follow sum to {total}, so nothing can be coded with them. "
            "The model is damaged, or overflows in this number type: try --dtype float32."
        )
    frequency = (probability * ((SCALE - len(probability)) / total)).astype(np.int64) + 1
    # Rounding leaves a little over (or takes a little too much): the likeliest symbol's own.
    frequency[int(frequency.argmax())] += SCALE - int(frequency.sum())
    cumulative = np.zeros(len(frequency) + 1, dtype=np.int64)
    np.cumsum(frequency, out=cumulative[1:])
    return cumulative


class RangeEncoder:
    """Writes symbols."""

    def __init__(self) -> None:
        self._low, self._range = 0, _FULL - 1
        self._out = bytearray()

    @property
    def bytes_out(self) -> int:
        """Bytes written so far."""
        return len(self._out)

    def encode(self, start: int, frequency: int) -> None:
        """Narrow to the share that begins at `start`, `frequency` wide, of 2^32."""
        unit = self._range >> SCALE_BITS
        self._low += unit * start
        # The last symbol has what integer division left over.
        self._range = unit * frequency if start + frequency < SCALE else self._range - unit * start
        if self._low >= _FULL:
            self._low -= _FULL
            self._carry()
        while self._range < _TOP:
            self._out.append(self._low >> 56)
            self._low = (self._low << 8) & (_FULL - 1)
            self._range <<= 8

    def finish(self) -> bytes:
        """The fewest bytes that, with zeros after them, lie in the interval."""
        for kept in range(9):
            unit = 1 << (64 - 8 * kept)
            value = -(-self._low // unit) * unit
            if value < self._low + self._range:
                if value >= _FULL:
                    value -= _FULL
                    self._carry()
                self._out += value.to_bytes(8, "big")[:kept]
                break
        return bytes(self._out).rstrip(b"\0")

    def _carry(self) -> None:
        at = len(self._out) - 1
        while self._out[at] == 0xFF:
            self._out[at] = 0
            at -= 1
        self._out[at] += 1


class RangeDecoder:
    """Reads what a `RangeEncoder` wrote; behind the last byte lie zeros."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 8
        self._code = int.from_bytes(content[:8].ljust(8, b"\0"), "big")
        self._range = _FULL - 1

    def decode(self, cumulative: NDArray[np.int64]) -> int:
        """The next symbol, its frequencies given."""
        unit = self._range >> SCALE_BITS
        target = min(self._code // unit, SCALE - 1)
        symbol = int(np.searchsorted(cumulative, target, side="right")) - 1
        start, end = int(cumulative[symbol]), int(cumulative[symbol + 1])
        self._code -= unit * start
        self._range = unit * (end - start) if end < SCALE else self._range - unit * start
        while self._range < _TOP:
            byte = self._content[self._at] if self._at < len(self._content) else 0
            # A damaged file may leave the interval; what comes out is checked at the end.
            self._code = ((self._code << 8) | byte) & (_FULL - 1)
            self._range <<= 8
            self._at += 1
        return symbol
