"""How sure a fit is: bootstrap by model, parametric draws, profile likelihood."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from kbit.laws.dual import Array
from kbit.laws.multistart import minimise_each
from kbit.laws.optimise import Problem, minimise

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """What the residuals of a fit say about noise.

    Attributes:
        scale: standard deviation of a residual of weight one, from a robust estimate where the loss is
            robust.
        degrees: of freedom of that estimate; rows of one model count as one once the curve has used its
            share.
        threshold: what one squared t adds to the objective on a profile.
    """

    scale: float
    degrees: int
    threshold: float


def noise_of(problem: Problem, theta: Array, models: NDArray[np.str_], *, known_errors: bool) -> Noise:
    """Noise at the optimum `theta` [parameters].

    With measured standard errors as weights the scale is the reduced chi (never taken below 1: agreement
    that is too good is luck). The threshold is the robust likelihood-ratio constant, half of
    E[psi²]/E[psi'] (Huber 1981, 7.10).
    """
    residual = problem.residuals(theta[None])[0]
    size = theta.shape[0]
    active = problem.weights > 0
    rows = int(active.sum())
    degrees = max(1, min(rows - size, np.unique(models[active]).size - min(size, 2)))
    left = max(1, rows - size)
    loss, weights = problem.loss, problem.weights
    if not loss.is_robust:
        variance = float((weights * residual**2).sum()) / left
        if known_errors:
            variance = max(variance, 1.0)
        return Noise(scale=float(np.sqrt(variance)), degrees=degrees, threshold=variance)
    scale = 1.4826 * float(np.median(np.abs(residual[active]))) * float(np.sqrt(rows / left))
    # Few residuals lie within delta when it is small, so their density is taken from a window of half the
    # scale.
    window = max(loss.delta, 0.5 * scale)
    density = float((weights * (np.abs(residual) <= window)).sum()) * (loss.delta / window) / rows
    squared = float((weights**2 * loss.psi(residual) ** 2).sum()) / left
    threshold = 0.5 * squared / max(density, 1e-6 / rows)
    return Noise(scale=scale, degrees=degrees, threshold=threshold)


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


def bootstrap(
    problem: Problem, optima: Array, models: NDArray[np.str_], *, resamples: int, seed: int
) -> Array:
    """Refit to resampled models, all rows of a model together; [resamples, parameters], search coordinates.

    `optima` [optima, parameters] are where the search on all the data ended, the best first: a resample may
    prefer another of them, so each is refitted from all.
    """
    parameters = problem.model.parameters
    levels = [problem.columns[p.name] for p in parameters if p.name in problem.columns]
    counts = resample(
        models, levels=levels, needed=len(parameters) - len(levels) + 1, resamples=resamples, seed=seed
    )
    return minimise_each(replace(problem, weights=counts * problem.weights), optima).theta


def parametric(problem: Problem, optima: Array, noise: Noise, *, resamples: int, seed: int) -> Array:
    """Refit to the fitted curve plus normal noise; [resamples, parameters], search coordinates."""
    rng = np.random.default_rng(seed)
    sigma = noise.scale / np.sqrt(np.maximum(problem.weights, 1e-300))
    wide = student.ppf(0.5 + LEVEL / 2, noise.degrees) / student.ppf(0.5 + LEVEL / 2, 10**6)
    shift = rng.normal(size=(resamples, problem.rows)) * sigma * wide
    fitted = problem.model.values(optima[:1], problem.columns)[0]
    response = fitted * np.exp(shift) if problem.loss.is_log else fitted + shift
    return minimise_each(replace(problem, response=response), optima).theta


def profile(problem: Problem, best: Array, objective: float, noise: Noise) -> Array:
    """Ends of each parameter's profile-likelihood interval, [parameters, 2], search coordinates.

    Each parameter is held at values going outwards from the optimum while the others are fitted again; the
    interval ends where the objective has risen by t²·threshold. An end that is never reached is infinite.
    """
    size = best.shape[0]
    limit = student.ppf(0.5 + LEVEL / 2, noise.degrees) ** 2 * noise.threshold
    curvature = _curvature(problem, best)
    spread = np.sqrt(np.maximum(np.diag(np.linalg.pinv(curvature)), 1e-30) * 2.0 * max(limit, 1e-300))
    low, high = problem.model.bounds
    ends = np.empty((size, 2))
    for side, sign in enumerate((-1.0, 1.0)):
        ends[:, side] = _walk(problem, best, objective, limit, sign * spread, low, high)
    return ends


def _walk(
    problem: Problem, best: Array, objective: float, limit: float, stride: Array, low: Array, high: Array
) -> Array:
    size = best.shape[0]
    steps = np.array([0.15, 0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0, 4.5, 7.0, 12.0, 25.0, 60.0])
    theta = np.repeat(best[None, None], size, axis=0).repeat(steps.size, axis=1)
    fixed = np.zeros(theta.shape, dtype=bool)
    positions = np.empty((size, steps.size))
    for i in range(size):
        positions[i] = np.clip(best[i] + steps * stride[i], low[i], high[i])
        theta[i, :, i] = positions[i]
        fixed[i, :, i] = True
    flat = (size * steps.size, size)
    found = minimise(problem, theta.reshape(flat), fixed=fixed.reshape(flat)).objective.reshape(
        size, steps.size
    )
    ends = np.empty(size)
    for i in range(size):
        rise = np.sqrt(np.maximum(found[i] - objective, 0.0))
        above = np.flatnonzero(~(rise < np.sqrt(limit)))
        if above.size == 0:
            ends[i] = np.sign(stride[i]) * np.inf
            continue
        j = int(above[0])
        left, start = (rise[j - 1], positions[i, j - 1]) if j else (0.0, best[i])
        share = (np.sqrt(limit) - left) / max(rise[j] - left, 1e-300) if np.isfinite(rise[j]) else 0.0
        ends[i] = start + share * (positions[i, j] - start)
    return ends


def jacobian(problem: Problem, theta: Array) -> Array:
    """Slopes of residuals in search coordinates at `theta` [parameters]: [rows, parameters], weighted."""
    predicted = problem.model.predict(theta[None], problem.columns)
    matrix = np.zeros((problem.rows, theta.shape[0]))
    for i, slope in predicted.slopes.items():
        matrix[:, i] = (slope / predicted.value if problem.loss.is_log else slope)[0]
    return np.asarray(matrix * np.sqrt(problem.weights)[:, None])


def _curvature(problem: Problem, theta: Array) -> Array:
    residual = problem.residuals(theta[None])[0]
    slopes = jacobian(problem, theta)
    bend = float(np.mean(problem.loss.bend(residual)))
    return np.asarray(max(bend, 1.0 / problem.rows) * slopes.T @ slopes)
