"""Refits: to resampled models, or to the fitted curve with noise drawn anew."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from kbit.laws.dual import Array
from kbit.laws.multistart import minimise_each
from kbit.laws.noise import Noise
from kbit.laws.optimise import Problem
from kbit.laws.profile import LEVEL


def resample(
    models: NDArray[np.str_], *, levels: Sequence[Array], needed: int, resamples: int, seed: int
) -> Array:
    """How often each row stands in each resample of the models, [resamples, rows].

    All rows of a model come and go together. A resample with fewer than `needed` distinct models, or in which
    one of `levels` (0/1 columns [rows]) has no row, cannot fix the curve and is drawn again.
    """
    labels, group = np.unique(models, return_inverse=True)
    rng = np.random.default_rng(seed)
    share = np.full(labels.size, 1.0 / labels.size)
    counts = np.empty((resamples, labels.size))
    todo = np.arange(resamples)
    of_level = [np.bincount(group, weights=level, minlength=labels.size) for level in levels]
    for _attempt in range(100):
        counts[todo] = rng.multinomial(labels.size, share, size=todo.size)
        drawn = counts[todo]
        poor = (drawn > 0).sum(axis=1) < min(labels.size, needed)
        for present in of_level:
            poor |= drawn @ present == 0
        todo = todo[poor]
        if todo.size == 0:
            break
    return counts[:, group]


def reweigh(models: NDArray[np.str_], *, resamples: int, seed: int) -> Array:
    """Weights of a Bayesian bootstrap (Rubin 1981, Annals of Statistics 9), [resamples, rows], mean about 1.

    Each model gets a standard exponential weight, which its rows share: Dirichlet weights but for their sum,
    which no optimum depends on. No model ever vanishes.
    """
    labels, group = np.unique(models, return_inverse=True)
    # A stream of its own: data simulated with the same seed must not go with the weights.
    rng = np.random.default_rng([seed, 0xB00757])
    return np.asarray(rng.exponential(size=(resamples, labels.size))[:, group])


def draw_weights(problem: Problem, models: NDArray[np.str_], *, resamples: int, seed: int) -> Array:
    """Weights of each refit, [resamples, rows]: whole counts for squares, exponential for Huber's loss.

    With a small delta Huber's fit goes nearly through some of the points, as a median does, and a resample in
    which a model counts twice or not at all jumps from point to point: intervals from counts cover 97 to 99%.
    Squares have no such jumps, and exponential weights would cover 83 to 86% of them, because a fit without a
    far-out model is what tells how much hangs on it (benchmarks/coverage.py).
    """
    if problem.loss.is_robust:
        return reweigh(models, resamples=resamples, seed=seed)
    parameters = problem.model.parameters
    levels = [problem.columns[p.name] for p in parameters if p.name in problem.columns]
    needed = len(parameters) - len(levels) + 1
    return resample(models, levels=levels, needed=needed, resamples=resamples, seed=seed)


def bootstrap(
    problem: Problem, optima: Array, models: NDArray[np.str_], *, resamples: int, seed: int
) -> Array:
    """Refit to resampled models, all rows of a model together; [resamples, parameters], search coordinates.

    `optima` [optima, parameters] are where the search on all the data ended, the best first: a resample may
    prefer another of them, so each is refitted from all.
    """
    counts = draw_weights(problem, models, resamples=resamples, seed=seed)
    return minimise_each(replace(problem, weights=counts * problem.weights), optima).theta


def parametric(
    problem: Problem, optima: Array, models: NDArray[np.str_], noise: Noise, *, resamples: int, seed: int
) -> Array:
    """Refit to the fitted curve plus normal noise of models and rows; [resamples, parameters]."""
    rng = np.random.default_rng(seed)
    labels, group = np.unique(models, return_inverse=True)
    wide = student.ppf(0.5 + LEVEL / 2, noise.degrees.min()) / student.ppf(0.5 + LEVEL / 2, 10**6)
    shift = noise.of_row * rng.normal(size=(resamples, problem.rows))
    shift += noise.of_model * rng.normal(size=(resamples, labels.size))[:, group]
    shift *= wide / np.sqrt(np.maximum(problem.weights, 1e-300))
    fitted = problem.model.values(optima[:1], problem.columns)[0]
    response = fitted * np.exp(shift) if problem.loss.is_log else fitted + shift
    return minimise_each(replace(problem, response=response), optima).theta


def percentiles(draws: Array, *, axis: int = 0) -> Array:
    """Ends of the 95% percentile interval of refits along `axis`; a new last axis holds the two ends.

    Quantile p of B refits is order statistic p·(B + 1), which a new draw falls below with probability p; the
    usual p·(B - 1) + 1 makes intervals of 200 refits cover a percent too little.
    """
    share = [50.0 * (1.0 - LEVEL), 50.0 * (1.0 + LEVEL)]
    return np.asarray(np.moveaxis(np.nanpercentile(draws, share, axis=axis, method="weibull"), 0, -1))
