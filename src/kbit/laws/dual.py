"""Numbers that carry their derivatives, so that a form is written once and its gradient is exact.

A `Dual` holds values of shape [starts, rows] and, for each parameter it depends on, the slope of the same
shape. Slopes are kept sparse (a term in N knows nothing of the slope in D), so a form costs about what
hand-written derivatives cost. Forward mode: Griewank & Walther 2008, chapter 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Dual:
    """A value and its slopes: `slopes[i]` is the derivative in parameter i.

    >>> a, b = Dual.parameter(2.0, 0), Dual.parameter(3.0, 1)
    >>> product = a * b + exp(a * 0.0)
    >>> float(product.value), float(product.slopes[0]), float(product.slopes[1])
    (7.0, 3.0, 2.0)
    """

    __slots__ = ("slopes", "value")
    __array_ufunc__ = None  # array * Dual is ours, not NumPy's element by element

    def __init__(self, value: Array, slopes: dict[int, Array]) -> None:
        self.value = value
        self.slopes = slopes

    @classmethod
    def parameter(cls, value: Array | float, index: int, slope: Array | float = 1.0) -> Dual:
        """Parameter number `index`; `slope` is its derivative in the coordinate that is searched."""
        array = np.asarray(value, dtype=np.float64)
        return cls(array, {index: np.broadcast_to(np.asarray(slope, dtype=np.float64), array.shape)})

    def _map(self, value: Array, slope: Array | float) -> Dual:
        return Dual(value, {i: s * slope for i, s in self.slopes.items()})

    def __add__(self, other: Dual | Array | float) -> Dual:
        if not isinstance(other, Dual):
            return Dual(self.value + other, dict(self.slopes))
        slopes = dict(self.slopes)
        for i, s in other.slopes.items():
            slopes[i] = slopes[i] + s if i in slopes else s
        return Dual(self.value + other.value, slopes)

    __radd__ = __add__

    def __neg__(self) -> Dual:
        return Dual(-self.value, {i: -s for i, s in self.slopes.items()})

    def __sub__(self, other: Dual | Array | float) -> Dual:
        return self + (-other)

    def __rsub__(self, other: Array | float) -> Dual:
        return -self + other

    def __mul__(self, other: Dual | Array | float) -> Dual:
        if not isinstance(other, Dual):
            return self._map(self.value * other, np.asarray(other, dtype=np.float64))
        slopes = {i: s * other.value for i, s in self.slopes.items()}
        for i, s in other.slopes.items():
            term = self.value * s
            slopes[i] = slopes[i] + term if i in slopes else term
        return Dual(self.value * other.value, slopes)

    __rmul__ = __mul__

    def __truediv__(self, other: Dual | Array | float) -> Dual:
        return self * (reciprocal(other) if isinstance(other, Dual) else 1.0 / np.asarray(other))

    def __rtruediv__(self, other: Array | float) -> Dual:
        return reciprocal(self) * other


def reciprocal(x: Dual) -> Dual:
    """1 / x."""
    value = 1.0 / x.value
    return x._map(value, -value * value)


def exp(x: Dual) -> Dual:
    """e**x."""
    value = np.exp(x.value)
    return x._map(value, value)


def log(x: Dual) -> Dual:
    """Natural logarithm of x."""
    return x._map(np.log(x.value), 1.0 / x.value)


def power(base: Dual | Array, exponent: Dual) -> Dual:
    """Base ** exponent, for a positive base."""
    if isinstance(base, Dual):
        return exp(exponent * log(base))
    return exp(exponent * np.log(base))


def minimum(x: Dual, limit: Array | float) -> Dual:
    """The smaller of x and a constant; the constant's side has no slope."""
    below = x.value <= limit
    return Dual(np.minimum(x.value, limit), {i: np.where(below, s, 0.0) for i, s in x.slopes.items()})


def softplus(x: Dual) -> Dual:
    """log(1 + e**x), without overflow."""
    return x._map(np.logaddexp(0.0, x.value), 0.5 * (1.0 + np.tanh(0.5 * x.value)))


def logistic(x: Dual) -> Dual:
    """1 / (1 + e**-x), without overflow."""
    value = 0.5 * (1.0 + np.tanh(0.5 * x.value))
    return x._map(value, value * (1.0 - value))
