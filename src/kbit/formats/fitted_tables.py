"""Tables made from data: quantiles of the weights, and codebooks of least squared error.

A table is fitted to a density: how much mass the (scaled) weights have on a fixed grid of values. Densities
of several tensors add up, so a group of layers can share a table and no tensor is held for it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kbit.formats.tables import round_to_bfloat16

Fit = Literal["quantile", "lloyd"]

# Scaled weights lie in [-1, 1]; beyond it where a searched scale clips.
GRID_END, GRID_BINS = 2.5, 10_000
_TOLERANCE, _MAX_ROUNDS = 1e-10, 2000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Density:
    """Mass of weights by value.

    Attributes:
        values: float64 [n], ascending.
        mass: float64 [n], not negative.
    """

    values: np.ndarray
    mass: np.ndarray

    def __add__(self, other: "Density") -> "Density":
        """The density of both tensors together."""
        return Density(values=self.values, mass=self.mass + other.mass)


def grid() -> np.ndarray:
    """Middles of the bins of scaled weights."""
    return (np.arange(GRID_BINS) + 0.5) * (2 * GRID_END / GRID_BINS) - GRID_END


def fitted_entries(kind: Fit, bits: int, density: Density) -> np.ndarray:
    """The table of 2^bits ascending values, exact in bfloat16, float32.

    Args:
        kind: `quantile` or `lloyd`.
        bits: k.
        density: what it is fitted to.
    """
    entries = quantile_entries(bits, density) if kind == "quantile" else lloyd_entries(2**bits, density)
    return round_to_bfloat16(np.sort(entries))


def quantile_entries(bits: int, density: Density) -> np.ndarray:
    """(Q(i / (2^k + 1)) + Q((i + 1) / (2^k + 1))) / 2 for i = 1 .. 2^k - 1, and 0, normalised to [-1, 1].

    Source: Dettmers & Zettlemoyer 2022, arXiv 2212.09720, section 2 (quantile quantisation).
    """
    count = 2**bits
    if not density.mass.any():
        return np.linspace(-1, 1, count)
    cumulative = np.cumsum(density.mass) / density.mass.sum()
    at = np.searchsorted(cumulative, np.arange(1, count + 1) / (count + 1))
    quantiles = density.values[np.minimum(at, len(density.values) - 1)]
    entries = np.append((quantiles[1:] + quantiles[:-1]) / 2, 0.0)
    top = np.abs(entries).max()
    return np.asarray(np.sort(entries) / top if top else np.linspace(-1, 1, count))


def lloyd_entries(count: int, density: Density) -> np.ndarray:
    """The `count` values of least squared error for a density (Lloyd 1982, Max 1960).

    Each value is the mean of its cell and each cell's end the midpoint of two values; begun from cells of
    equal mass^(1/3), which is where many values tend to (Panter & Dite 1951).
    """
    x, mass = density.values, density.mass
    if not mass.any():
        return np.linspace(-1, 1, count)
    total = np.concatenate([[0.0], np.cumsum(mass)])
    moment = np.concatenate([[0.0], np.cumsum(mass * x)])
    spread = np.cumsum(np.cbrt(np.convolve(mass, np.ones(51) / 51, mode="same")))
    at = np.searchsorted(spread / spread[-1], (np.arange(count) + 0.5) / count)
    entries = np.maximum.accumulate(x[np.minimum(at, len(x) - 1)])
    for _ in range(_MAX_ROUNDS):
        ends = np.searchsorted(x, (entries[1:] + entries[:-1]) / 2)
        ends = np.concatenate([[0], ends, [len(x)]])
        weight, first = np.diff(total[ends]), np.diff(moment[ends])
        fitted = np.where(weight > 0, first / np.where(weight > 0, weight, 1.0), entries)
        moved = np.abs(fitted - entries).max()
        entries = fitted
        if moved < _TOLERANCE:
            break
    return np.asarray(entries)
