"""Profile-likelihood intervals: a parameter held at values going outwards while the others are refitted."""

from dataclasses import replace

import numpy as np
from scipy.stats import t as student

from kbit.laws.dual import Array
from kbit.laws.noise import jacobian
from kbit.laws.optimise import Problem, minimise

LEVEL = 0.95
# how far out each parameter is held, in half-widths that a straight model would give
STEPS = np.array([0.3, 0.6, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0, 4.5, 7.0, 12.0, 25.0, 60.0])


def limits(degrees: Array, threshold: Array) -> Array:
    """By how much the objective may rise within the 95% interval: t² times the threshold."""
    return np.asarray(student.ppf(0.5 + LEVEL / 2, degrees) ** 2 * threshold)


def profile(problem: Problem, best: Array, objective: Array, limit: Array) -> Array:
    """Ends of each parameter's interval, [problems, parameters, 2], in search coordinates.

    Args:
        problem: `response` is [rows] for one problem, or [problems, rows].
        best: optima, [problems, parameters].
        objective: at the optima, [problems].
        limit: by how much it may rise, [problems, parameters].

    Returns:
        where the rise is reached, infinite where it never is. A parameter whose range is a point has that.
    """
    ends = np.empty((*best.shape, 2))
    covariance = np.stack([_covariance(problem, best, i) for i in range(best.shape[0])])
    diagonal = np.maximum(np.einsum("sii->si", covariance), 1e-30)
    spread = np.sqrt(2.0 * diagonal * np.maximum(limit, 1e-300))
    slant = covariance / diagonal[:, None, :]  # where the others go when one moves, [problems, others, moved]
    for side, sign in enumerate((-1.0, 1.0)):
        ends[:, :, side] = _walk(problem, best, objective, limit, sign * spread, slant)
    low, high = problem.model.bounds
    ends[:, low == high] = best[:, low == high, None]
    return ends


def _walk(
    problem: Problem, best: Array, objective: Array, limit: Array, stride: Array, slant: Array
) -> Array:
    count, size = best.shape
    low, high = problem.model.bounds
    offset = stride[:, :, None] * STEPS
    place = np.clip(best[:, :, None] + offset, low[:, None], high[:, None])
    moved = (place - best[:, :, None])[..., None] * slant.transpose(0, 2, 1)[:, :, None, :]
    theta = np.clip(best[:, None, None, :] + moved, low, high)
    held = np.zeros(theta.shape, dtype=bool)
    for i in range(size):
        theta[:, i, :, i] = place[:, i]
        held[:, i, :, i] = True
    flat = (-1, size)
    found = minimise(
        problem,
        theta.reshape(flat),
        which=np.repeat(np.arange(count), size * STEPS.size),
        fixed=held.reshape(flat),
    ).objective.reshape(count, size, STEPS.size)
    # the square root of the rise is nearly straight in the parameter
    rise = np.sqrt(np.maximum(found - objective[:, None, None], 0.0))
    ends = np.empty((count, size))
    for s in range(count):
        for i in range(size):
            allowed = np.sqrt(limit[s, i])
            above = np.flatnonzero(~(rise[s, i] < allowed))
            if above.size == 0:
                ends[s, i] = np.sign(stride[s, i]) * np.inf
                continue
            j = int(above[0])
            left, start = (rise[s, i, j - 1], place[s, i, j - 1]) if j else (0.0, best[s, i])
            share = (
                (allowed - left) / max(rise[s, i, j] - left, 1e-300) if np.isfinite(rise[s, i, j]) else 0.0
            )
            ends[s, i] = start + share * (place[s, i, j] - start)
    return ends


def _covariance(problem: Problem, best: Array, index: int) -> Array:
    """Inverse of the curvature at one optimum, up to the noise."""
    one = problem if problem.response.ndim == 1 else replace(problem, response=problem.response[index])
    theta = best[index]
    slopes = jacobian(one, theta)
    bend = float(np.mean(one.loss.bend(one.residuals(theta[None])[0])))
    curvature = max(bend, 1.0 / one.rows) * slopes.T @ slopes
    return np.asarray(np.linalg.pinv(curvature, rcond=1e-14, hermitian=True))
