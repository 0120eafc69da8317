"""Several optima of one problem, and many problems near it, each solved from all of those."""

import numpy as np

from kbit.laws.dual import Array
from kbit.laws.optimise import Optima, Problem, minimise

MOST = 4  # optima carried to a batch: more than the best few never won one
WORSE = 2.0  # an optimum with more than this many times the best objective is left behind
SAME = 1e-6  # relative difference of objectives within which two descents may have met
NEAR = 1e-3  # distance of search coordinates within which they have


def distinct(found: Optima, *, most: int = MOST) -> Array:
    """The different optima that descents ended at, the best first; [optima, parameters].

    Descents that met (same objective, same place) count once. Multistart with such merging: Rinnooy Kan &
    Timmer 1987, Math. Programming 39.
    """
    objective = np.where(np.isfinite(found.objective), found.objective, np.inf)
    order = np.argsort(objective, kind="stable")
    most_allowed = WORSE * objective[order[0]]
    kept: list[int] = []
    for i in order:
        if len(kept) == most or not objective[i] <= most_allowed:
            break
        met = any(
            objective[i] <= objective[j] * (1.0 + SAME) + 1e-300
            or np.abs(found.theta[i] - found.theta[j]).max() <= NEAR * (1.0 + np.abs(found.theta[j]).max())
            for j in kept
        )
        if not met:
            kept.append(int(i))
    return found.theta[kept if kept else order[:1]]


def minimise_each(batch: Problem, starts: Array) -> Optima:
    """Solve every problem of a batch from each of the starts and keep its best.

    Args:
        batch: `weights` or `response` are [problems, rows].
        starts: [starts, parameters]; with those of `distinct` the search from afar is done once, on all the
            data, and each resample only moves on from where it ended.

    Returns:
        one optimum a problem.
    """
    count = batch.weights.shape[0] if batch.weights.ndim == 2 else batch.response.shape[0]
    problems = np.arange(count)
    best: Optima | None = None
    for start in starts:
        found = minimise(batch, np.repeat(start[None], count, axis=0), which=problems)
        best = found if best is None else _better(best, found)
    if best is None:
        raise ValueError("no start was given")
    return best


def _better(one: Optima, two: Optima) -> Optima:
    wins = np.isfinite(two.objective) & ~(one.objective <= two.objective)
    return Optima(
        theta=np.where(wins[:, None], two.theta, one.theta),
        objective=np.where(wins, two.objective, one.objective),
        gradient_norm=np.where(wins, two.gradient_norm, one.gradient_norm),
        iterations=one.iterations + two.iterations,
        converged=np.where(wins, two.converged, one.converged),
    )
