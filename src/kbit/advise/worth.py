"""What one more bit is worth in parameters: how much larger a model of fewer bits must be to do as well.

At each value that two neighbouring k of a family both reach, the curves of value against log parameters are
read backwards; the ratio of their parameters, to the power 1 / (bits between them), is the worth of one bit.
It pays where it exceeds what the bit costs: the ratio of stored bits for each parameter, likewise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kbit.advise.curves import Point
from kbit.laws.dual import Array


@dataclass(frozen=True, kw_only=True, slots=True)
class BitWorth:
    """Of two neighbouring k of one family.

    Attributes:
        fewer, more: the two.
        factor: times the parameters that one more bit replaces; median over the values both reach.
        low, high: its range over those values.
        ci95: median of the cautious ends, each curve at the far end of its interval; None without intervals.
        cost: times the stored bits of a parameter that the bit costs.
        pays: whether `factor` is above `cost`; None where they cannot be told apart (`cost` inside `ci95`).
        values: how many values were compared; where some have intervals, only those.
    """

    fewer: str
    more: str
    factor: float
    low: float
    high: float
    ci95: tuple[float, float] | None
    cost: float
    pays: bool | None
    values: int


def worth_of_bits(points: Sequence[Point]) -> tuple[BitWorth, ...]:
    """The worth of a bit between each two neighbouring k of a family, the smallest first.

    Args:
        points: of one family, higher values better; those without `params`, or whose label is no number, are
            passed over.
    """
    by_k: dict[float, list[Point]] = {}
    for point in points:
        k = _number(point.label)
        if k is not None and point.params is not None:
            by_k.setdefault(k, []).append(point)
    ks = sorted(by_k)
    found = (_between(a, by_k[a], b, by_k[b]) for a, b in pairwise(ks))
    return tuple(worth for worth in found if worth is not None)


def _between(a: float, fewer: list[Point], b: float, more: list[Point]) -> BitWorth | None:
    if min(len({p.params for p in points}) for points in (fewer, more)) < 2:
        return None  # one size is no curve
    values = np.unique([p.value for p in (*fewer, *more)])
    bits = b - a
    middle = (_sizes(fewer, values, "value") - _sizes(more, values, "value")) / bits
    known = np.isfinite(middle)
    if not known.any():
        return None
    # The optimistic end of the one curve against the pessimistic end of the other.
    low = (_sizes(fewer, values, "high") - _sizes(more, values, "low")) / bits
    high = (_sizes(fewer, values, "low") - _sizes(more, values, "high")) / bits
    both = np.isfinite(low) & np.isfinite(high) & known
    if both.any():
        known = both  # the interval and what it is of come from the same values
    ends = (float(np.exp(np.median(low[both]))), float(np.exp(np.median(high[both])))) if both.any() else None
    factor = float(np.exp(np.median(middle[known])))
    cost = float((_stored(more) / _stored(fewer)) ** (1.0 / bits))
    unsure = ends is not None and ends[0] <= cost <= ends[1]
    return BitWorth(
        fewer=fewer[0].label,
        more=more[0].label,
        factor=factor,
        low=float(np.exp(middle[known].min())),
        high=float(np.exp(middle[known].max())),
        ci95=ends,
        cost=cost,
        pays=None if unsure else factor > cost,
        values=int(known.sum()),
    )


def _sizes(points: list[Point], values: Array, end: str) -> Array:
    """Log parameters at which a curve first reaches each value; NaN below its first and above its best."""
    ordered = sorted(points, key=lambda p: p.params or 0.0)
    sizes = np.log([p.params or 0.0 for p in ordered])
    heights = np.array([_end(p, end) for p in ordered])
    if not np.isfinite(heights).all():
        return np.full(values.shape, np.nan)
    best = np.maximum.accumulate(heights)
    rising = np.concatenate([[True], np.diff(best) > 0])
    return np.asarray(np.interp(values, best[rising], sizes[rising], left=np.nan, right=np.nan))


def _end(point: Point, end: str) -> float:
    if end == "value":
        return point.value
    return float("nan") if point.ci95 is None else point.ci95[end == "high"]


def _stored(points: list[Point]) -> float:
    """Stored bits for each parameter, median."""
    return float(np.median([p.stored_bits / (p.params or 1.0) for p in points]))


def _number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None
