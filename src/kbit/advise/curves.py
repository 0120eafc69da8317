"""Curves of one family: the response of each k (or format) against stored bits, interpolated in log size."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kbit.laws.dual import Array


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One measured (model, format): its size, its value, and where known its 95% interval and parameters."""

    family: str
    model: str
    label: str
    stored_bits: float
    value: float
    ci95: tuple[float, float] | None = None
    params: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Values of one label against log stored bits, increasing; `low` and `high` NaN without intervals."""

    label: str
    log_size: Array
    value: Array
    low: Array
    high: Array

    def covers(self, log_size: float) -> bool:
        """Whether the size lies between the curve's ends."""
        slack = 1e-12 * max(1.0, abs(log_size))
        return bool(self.log_size[0] - slack <= log_size <= self.log_size[-1] + slack)

    def at(self, log_size: float) -> float:
        """The value there, by straight lines."""
        return float(np.interp(log_size, self.log_size, self.value))

    def interval(self, log_size: float) -> tuple[float, float]:
        """The ends of the interval there."""
        return (
            float(np.interp(log_size, self.log_size, self.low)),
            float(np.interp(log_size, self.log_size, self.high)),
        )


def curves_of(points: Iterable[Point]) -> list[Curve]:
    """One curve for each label; points of one size on one curve are replaced by the better of them."""
    by_label: dict[str, list[Point]] = {}
    for point in points:
        by_label.setdefault(point.label, []).append(point)
    curves = []
    for label, members in by_label.items():
        best: dict[float, Point] = {}
        for point in members:
            if point.stored_bits not in best or best[point.stored_bits].value < point.value:
                best[point.stored_bits] = point
        ordered = [best[size] for size in sorted(best)]
        nan = (float("nan"), float("nan"))
        curves.append(
            Curve(
                label=label,
                log_size=np.log([p.stored_bits for p in ordered]),
                value=np.array([p.value for p in ordered]),
                low=np.array([(p.ci95 or nan)[0] for p in ordered]),
                high=np.array([(p.ci95 or nan)[1] for p in ordered]),
            )
        )
    return curves


def crossing(first: Curve, second: Curve, start: float, end: float) -> float | None:
    """The log size between `start` and `end` where two curves cross, or None: exact for straight lines."""
    knots = np.unique(np.concatenate([[start, end], first.log_size, second.log_size]))
    knots = knots[(knots >= start) & (knots <= end)]
    gaps = [first.at(k) - second.at(k) for k in knots]
    for i in range(len(knots) - 1):
        left, right = gaps[i], gaps[i + 1]
        if left == right:
            continue
        if left * right <= 0:
            return float(knots[i] + (knots[i + 1] - knots[i]) * left / (left - right))
    return None
