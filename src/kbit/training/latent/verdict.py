"""Does a GAN write likelier text than the temperature sweep of its own beginning, at equal entropy?"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kbit.errors import TrainingError

Floats = NDArray[np.float64]
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class TextBits:
    """Of one generator's texts at one temperature.

    Attributes:
        sums: float64 [texts, 3]: bits under the scorer, bits they were drawn with, bytes.
        seeds: of the training that the generator of each text comes from, int64 [texts].
    """

    sums: Floats
    seeds: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.sums):
            raise TrainingError("a generator wrote no text at all, so there is nothing to judge.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A GAN against the sweep at equal entropy.

    Attributes:
        difference: cross-entropy under the scorer, GAN less sweep, bits per byte; below 0 the GAN writes
            likelier text of the same variety. None where its entropy lies outside the sweep's.
        ci95: its interval: texts of every point are drawn again, the GAN's entropy and the sweep's line too.
        by_seed: the same difference for each training seed; None where a seed's entropy lies outside.
        winner: `gan`, `sweep`, or `undecided`.
        reason: in words.
    """

    difference: float | None
    ci95: tuple[float, float] | None
    by_seed: dict[int, float | None]
    winner: str
    reason: str


def judge(gan: TextBits, sweep: Sequence[TextBits], *, seed: int = 0, resamples: int = RESAMPLES) -> Verdict:
    """The GAN against the sweep, whose cross-entropy is interpolated at the GAN's entropy.

    A winner is named only where the interval leaves out 0 and all training seeds agree on the side: texts
    drawn again say nothing about another training.

    Args:
        gan: its texts.
        sweep: texts of each temperature.
        seed: of the bootstrap.
        resamples: how often texts are drawn again.
    """
    whole = _difference(gan.sums.sum(axis=0), [point.sums.sum(axis=0) for point in sweep])
    seeds = sorted(set(gan.seeds.tolist()))
    by_seed = {s: _difference(_of(gan, s), [_of(point, s) for point in sweep]) for s in seeds}
    if whole is None:
        entropies = sorted(float(p.sums[:, 1].sum() / p.sums[:, 2].sum()) for p in sweep)
        ends = f"{entropies[0]:.3f} to {entropies[-1]:.3f}" if entropies else "nothing"
        own = gan.sums[:, 1].sum() / gan.sums[:, 2].sum()
        return Verdict(
            difference=None,
            ci95=None,
            by_seed=by_seed,
            winner="undecided",
            reason=f"the GAN's entropy, {own:.3f} bits per byte, lies outside the sweep's {ends}: give more "
            "temperatures",
        )
    random = np.random.default_rng(seed)
    ours, *theirs = (_again(point, resamples, random) for point in (gan, *sweep))
    drawn = [_difference(ours[i], [point[i] for point in theirs]) for i in range(resamples)]
    found = [value for value in drawn if value is not None]
    if len(found) < resamples / 2:
        return Verdict(
            difference=whole, ci95=None, by_seed=by_seed, winner="undecided",
            reason="the GAN's entropy lies at the end of the sweep: give more temperatures",
        )  # fmt: skip
    low, high = (float(x) for x in np.quantile(found, [0.025, 0.975]))
    sides = {None if value is None else value > 0 for value in by_seed.values()}
    if low <= 0 <= high:
        winner, reason = "undecided", "the interval holds 0"
    elif sides != {whole > 0}:
        winner, reason = "undecided", "the interval leaves out 0, but the training seeds do not agree"
    elif whole < 0:
        winner, reason = "gan", "at its own entropy the GAN's texts are likelier than the sweep's"
    else:
        winner = "sweep"
        reason = "at the GAN's entropy the maximum-likelihood generator's texts are likelier"
    return Verdict(difference=whole, ci95=(low, high), by_seed=by_seed, winner=winner, reason=reason)


def _of(point: TextBits, seed: int) -> Floats:
    sums: Floats = point.sums[point.seeds == seed].sum(axis=0)
    return sums


def _again(point: TextBits, times: int, random: np.random.Generator) -> Floats:
    """Sums over as many texts of each seed, drawn again so many times; [times, 3]."""
    total = np.zeros((times, 3))
    for seed in np.unique(point.seeds):
        own = point.sums[point.seeds == seed]
        counts = random.multinomial(len(own), np.full(len(own), 1 / len(own)), size=times)
        total += counts @ own
    return total


def _difference(gan: Floats, sweep: Sequence[Floats]) -> float | None:
    """Of sums (bits under the scorer, bits drawn with, bytes); None outside the sweep."""
    if not gan[2] or any(not point[2] for point in sweep):
        return None
    x, y = gan[1] / gan[2], gan[0] / gan[2]
    points = sorted((float(p[1] / p[2]), float(p[0] / p[2])) for p in sweep)
    for (left, low), (right, high) in itertools.pairwise(points):
        if left <= x <= right:
            share = 0.0 if right == left else (x - left) / (right - left)
            return float(y - (low + share * (high - low)))
    return None
