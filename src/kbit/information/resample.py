"""Intervals of figures that are functions of sums over documents, alone and in differences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kbit.errors import CorpusError
from kbit.information.estimate import LEVEL, RESAMPLES, TOO_FEW, Estimate

Floats = NDArray[np.float64]
# Sums [..., columns] to figures [...].
Statistic = Callable[[Floats], Floats]
# Weight added to and taken from a group to see the slope of a figure.
STEP = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """Sums by group of documents that are drawn together (those that continue one prompt, say)."""

    keys: tuple[str, ...]
    columns: Floats
    """float64 [groups, columns]."""


def grouped(keys: Sequence[str], *columns: Sequence[float]) -> Sums:
    """Add up documents by group.

    >>> grouped(["a", "b", "a"], [1, 2, 3], [1, 1, 1]).columns.tolist()
    [[4.0, 2.0], [2.0, 1.0]]
    """
    places: dict[str, int] = {}
    at = [places.setdefault(key, len(places)) for key in keys]
    summed = np.zeros((len(places), len(columns)))
    np.add.at(summed, at, np.array(columns, dtype=np.float64).T.reshape(len(keys), len(columns)))
    return Sums(keys=tuple(places), columns=summed)


def ratio(sums: Floats) -> Floats:
    """The first column over the second."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = sums[..., 0] / sums[..., 1]
    return result


def estimate(
    sample: Sums, statistic: Statistic = ratio, *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """A figure with a 95% percentile interval by resampling groups.

    Raises:
        CorpusError: the figure is not defined, because nothing was counted.
    """
    return _estimate([sample], lambda sums: statistic(sums[0]), [_draws(sample, seed, resamples)])


def difference(
    one: Sums, other: Sums, statistic: Statistic = ratio, *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The figure of one sample less that of another, with a 95% interval.

    Where both have the same groups (continuations of the same prompts), groups are drawn in pairs, which
    takes out what the two share; else each sample is drawn by itself.
    """
    both = [one, _in_order(other, one.keys) if paired(one, other) else other]
    first = _draws(one, seed, resamples)
    second = first if paired(one, other) else _draws(other, seed + 1, resamples)
    return _estimate(both, lambda sums: statistic(sums[0]) - statistic(sums[1]), [first, second])


def paired(one: Sums, other: Sums) -> bool:
    """Whether two samples have the same groups."""
    return len(one.keys) == len(other.keys) and set(one.keys) == set(other.keys)


def _in_order(sample: Sums, keys: Sequence[str]) -> Sums:
    place: Mapping[str, int] = {key: i for i, key in enumerate(sample.keys)}
    return Sums(keys=tuple(keys), columns=sample.columns[[place[key] for key in keys]])


def _draws(sample: Sums, seed: int, resamples: int) -> NDArray[np.int64]:
    """How often each group is drawn in each resample, [resamples, groups]."""
    groups = len(sample.keys)
    if groups < 2:
        return np.ones((0, groups), dtype=np.int64)
    rng = np.random.default_rng(seed)
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples)


def _estimate(
    samples: Sequence[Sums],
    figure: Callable[[Sequence[Floats]], Floats],
    draws: Sequence[NDArray[np.int64]],
) -> Estimate:
    value = float(figure([sample.columns.sum(axis=0) for sample in samples]))
    if not np.isfinite(value):
        raise CorpusError("nothing was counted, so there is no figure. Give text that is not empty.")
    if any(len(drawn) == 0 for drawn in draws):
        return Estimate(value=value, low=None, high=None, standard_error=None, reason=TOO_FEW)
    drawn_figures = figure([d @ sample.columns for d, sample in zip(draws, samples, strict=True)])
    drawn_figures = drawn_figures[np.isfinite(drawn_figures)]
    if len(drawn_figures) < 2:
        return Estimate(value=value, low=None, high=None, standard_error=None, reason=TOO_FEW)
    low, high = np.quantile(drawn_figures, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(
        value=value, low=float(low), high=float(high), standard_error=float(drawn_figures.std(ddof=1))
    )


def contributions(one: Sums, statistic: Statistic = ratio, other: Sums | None = None) -> Mapping[str, float]:
    """What each group says of a figure (or of a difference of two), so that their plain mean is the figure.

    The figure and, of each group, n times its slope in the weight of that group: the mean is the figure and
    their spread is that of resampled figures, to first order. So a figure that is no ratio of sums can be
    kept as sums over documents.

    Source: Jaeckel, "The infinitesimal jackknife" (1972); Efron & Tibshirani 1993, ch. 21.

    >>> [round(v, 4) for v in contributions(grouped("ab", [1, 3], [1, 1])).values()]
    [1.0, 3.0]
    """
    samples = [one] if other is None else [one, _in_order(other, one.keys)]
    groups = len(one.keys)
    figure, slopes = 0.0, np.zeros(groups)
    for sign, sample in zip((1.0, -1.0), samples, strict=False):
        total = sample.columns.sum(axis=0)
        figure += sign * float(statistic(total))
        ends = (statistic(total + step * sample.columns) for step in (STEP, -STEP))
        slopes += sign * (next(ends) - next(ends)) / (2 * STEP)
    values = figure + groups * (slopes - slopes.mean())
    return dict(zip(one.keys, values.tolist(), strict=True))
