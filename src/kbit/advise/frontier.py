"""`frontier`: which k is best at equal stored bits, and which points no other beats with fewer."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from kbit.advise.curves import Curve, Point, crossing, curves_of
from kbit.advise.worth import BitWorth, worth_of_bits
from kbit.errors import LawError, UsageError

GRID = 41
LEAST = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One size at which curves were compared.

    Attributes:
        ci95, runner_up_ci95: interpolated between the points' own; None where those are missing.
        tie: the two intervals overlap; None where one is missing.
        tied: every k whose interval overlaps that of the best.
    """

    stored_bits: float
    best: str
    value: float
    ci95: tuple[float, float] | None
    runner_up: str
    runner_up_value: float
    runner_up_ci95: tuple[float, float] | None
    compared: int
    tie: bool | None
    tied: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossover:
    """The size from which on `after` is better than `before`, where their curves cross."""

    before: str
    after: str
    stored_bits: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyFrontier:
    """What the comparisons of one family say; `bit_worth` what one more bit is worth in parameters."""

    comparisons: int
    wins: dict[str, int]
    ties: int
    crossovers: tuple[Crossover, ...]
    points: tuple[Comparison, ...]
    bit_worth: tuple[BitWorth, ...]
    note: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Frontier:
    """The frontier of every family, their total, and the discrete Pareto frontier of all points."""

    families: dict[str, FamilyFrontier]
    total: dict[str, Any]
    pareto: tuple[Point, ...]
    assumptions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types; what `kbit frontier --json` prints."""
        return asdict(self)


def frontier(
    points: Iterable[Point], *, higher_is_better: bool = True, grid: int = GRID, least: int = LEAST
) -> Frontier:
    """Compare the curves of each family at equal stored bits.

    Dettmers & Zettlemoyer 2022 (arXiv 2212.09720) compare k at equal total model bits. Here each curve is
    interpolated linearly in the logarithm of its size, and compared on a geometric grid over the family's
    sizes, wherever at least `least` curves have values; nothing is extrapolated.

    Args:
        points: measured (model, format) pairs.
        higher_is_better: false for losses and perplexities.
        grid: sizes in the grid of a family.
        least: curves that must overlap for a comparison.

    Raises:
        UsageError: grid or least too small.
        LawError: no points, or a size that is not positive.
    """
    if grid < 2 or least < 2:
        raise UsageError(
            f"a comparison needs a grid of at least 2 sizes and 2 curves, got {grid} and {least}."
        )
    given = list(points)
    if not given:
        raise LawError("there are no points to compare.")
    if any(not p.stored_bits > 0 for p in given):
        raise LawError("stored bits must be positive.")
    members: dict[str, list[Point]] = {}
    for point in given:
        members.setdefault(point.family, []).append(point if higher_is_better else _negated(point))
    families = {
        name: _family(group, grid=grid, least=least, higher_is_better=higher_is_better)
        for name, group in members.items()
    }
    wins: dict[str, int] = {}
    for family in families.values():
        for label, count in family.wins.items():
            wins[label] = wins.get(label, 0) + count
    return Frontier(
        families=families,
        total={
            "comparisons": sum(f.comparisons for f in families.values()),
            "wins": dict(sorted(wins.items(), key=lambda item: -item[1])),
            "ties": sum(f.ties for f in families.values()),
        },
        pareto=tuple(pareto(given, higher_is_better=higher_is_better)),
        assumptions=(
            "Curves are interpolated linearly in the logarithm of stored bits, "
            f"on a grid of {grid} sizes over each family.",
            "Intervals are those of the points, interpolated with them; two k tie where theirs overlap, "
            "which is cautious where both were measured on the same items.",
            "What a bit is worth is read off the curves against parameters, at values that both k reach.",
            f"A size counts where at least {least} curves have values on both sides of it; "
            "nothing is extrapolated.",
        ),
    )


def pareto(points: Sequence[Point], *, higher_is_better: bool = True) -> list[Point]:
    """The points that no other beats with as few bits, by increasing size.

    >>> a, b, c = (Point(family="f", model=m, label="4", stored_bits=s, value=v)
    ...            for m, s, v in (("a", 1.0, 1.0), ("b", 2.0, 0.5), ("c", 3.0, 2.0)))
    >>> [p.model for p in pareto([a, b, c])]
    ['a', 'c']
    """
    sign = 1.0 if higher_is_better else -1.0
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.stored_bits, -sign * p.value)):
        if not kept or sign * point.value > sign * kept[-1].value:
            kept.append(point)
    return kept


def _negated(point: Point) -> Point:
    ends = None if point.ci95 is None else (-point.ci95[1], -point.ci95[0])
    return replace(point, value=-point.value, ci95=ends)


def _family(points: list[Point], *, grid: int, least: int, higher_is_better: bool) -> FamilyFrontier:
    curves = curves_of(points)
    low = min(float(c.log_size[0]) for c in curves)
    high = max(float(c.log_size[-1]) for c in curves)
    sign = 1.0 if higher_is_better else -1.0
    compared: list[Comparison] = []
    crossovers: list[Crossover] = []
    last: tuple[float, Curve] | None = None
    for at in np.linspace(low, high, grid):
        here = [c for c in curves if c.covers(float(at))]
        if len(here) < least:
            last = None
            continue
        ranked = sorted(here, key=lambda c: -c.at(float(at)))
        best, second = ranked[0], ranked[1]
        ends = [c.interval(float(at)) for c in ranked]
        tied = tuple(c.label for c, own in zip(ranked, ends, strict=True) if own[1] >= ends[0][0])
        unknown = np.isnan(ends[0][0]) or np.isnan(ends[1][1])
        compared.append(
            Comparison(
                stored_bits=float(np.exp(at)),
                best=best.label,
                value=sign * best.at(float(at)),
                ci95=_ends(ends[0], sign),
                runner_up=second.label,
                runner_up_value=sign * second.at(float(at)),
                runner_up_ci95=_ends(ends[1], sign),
                compared=len(here),
                tie=None if unknown else ends[1][1] >= ends[0][0],
                tied=tied,
            )
        )
        if last is not None and last[1].label != best.label:
            where = crossing(last[1], best, last[0], float(at))
            # No crossing: the curve that led has ended, and the next best took its place.
            if where is not None:
                crossovers.append(
                    Crossover(before=last[1].label, after=best.label, stored_bits=float(np.exp(where)))
                )
        last = (float(at), best)
    wins: dict[str, int] = {}
    for comparison in compared:
        wins[comparison.best] = wins.get(comparison.best, 0) + 1
    note = None
    if not compared:
        note = f"at no size do {least} curves overlap: measure more sizes of this family, or more k."
    return FamilyFrontier(
        comparisons=len(compared),
        wins=dict(sorted(wins.items(), key=lambda item: -item[1])),
        ties=sum(c.tie is True for c in compared),
        crossovers=tuple(crossovers),
        points=tuple(compared),
        bit_worth=worth_of_bits(points),
        note=note,
    )


def _ends(ends: tuple[float, float], sign: float) -> tuple[float, float] | None:
    """An interval in the direction it was given in; None where it is not known."""
    if np.isnan(ends[0]) or np.isnan(ends[1]):
        return None
    return ends if sign > 0 else (-ends[1], -ends[0])
