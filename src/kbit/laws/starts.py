"""Where fits start: a grid over what is not linear, and least squares for what is (variable projection)."""

import itertools

import numpy as np
from numpy.typing import NDArray

from kbit.laws.dual import Array
from kbit.laws.optimise import Problem

MOST = 4096  # grid points tried at most; a finer grid is thinned evenly


def grid_starts(problem: Problem, *, count: int) -> Array:
    """The best `count` points of the form's grid, [count, parameters], in search coordinates.

    Golub & Pereyra 1973: at fixed non-linear parameters the linear ones follow from a linear solve, so a
    start needs no guess of them. The solve uses squared relative residuals where the loss is of logarithms.
    """
    model = problem.model
    free = [i for i, p in enumerate(model.parameters) if not p.linear]
    axes = [model.parameters[i].grid or (1.0,) for i in free]
    points = np.array(list(itertools.product(*axes)), dtype=np.float64).reshape(-1, len(free))
    if points.shape[0] > MOST:
        points = points[:: -(-points.shape[0] // MOST)]
    theta = project(problem, points)
    objective = problem.objective(theta)
    order = np.argsort(np.where(np.isfinite(objective), objective, np.inf), kind="stable")
    return theta[order[: max(1, count)]]


def project(problem: Problem, points: Array) -> Array:
    """Fill in the linear parameters at points [points, non-linear parameters] by weighted least squares."""
    model = problem.model
    linear = np.array([p.linear for p in model.parameters])
    values = np.ones((points.shape[0], len(model.parameters)))
    values[:, ~linear] = points
    if not linear.any():
        return model.search(values)
    scale = np.abs(problem.response) if problem.loss.is_log else np.ones_like(problem.response)
    root = np.sqrt(problem.weights) / scale
    basis, rest = _basis(problem, model.search(values), linear)
    basis = basis * root
    # Terms differ by tens of orders of magnitude (N^-0.3 beside 1): columns are brought to length one first.
    length = np.sqrt((basis * basis).sum(axis=-1, keepdims=True))
    unit = basis / np.where(length > 0, length, 1.0)
    gram = np.matmul(unit, unit.transpose(0, 2, 1)) + 1e-10 * np.eye(unit.shape[1])
    right = np.matmul(unit, ((problem.response - rest) * root)[:, :, None])[:, :, 0]
    coefficients = np.linalg.solve(gram, right[:, :, None])[:, :, 0] / length[:, :, 0]
    positive = np.array([p.log for p, is_linear in zip(model.parameters, linear, strict=True) if is_linear])
    # A positive term that least squares would make negative starts as a hundredth of the response.
    small = 0.01 * np.abs(problem.response).mean() / np.maximum(np.abs(basis / root).mean(axis=-1), 1e-300)
    values[:, linear] = np.where(positive & (coefficients <= 0), small, coefficients)
    return model.search(values)


def _basis(problem: Problem, theta: Array, linear: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Factors of the linear parameters [points, linear parameters, rows], and the rest [points, rows]."""
    with np.errstate(all="ignore"):
        predicted = problem.model.predict(theta, problem.columns)
    shape = (theta.shape[0], problem.rows)
    rows = []
    for i in np.flatnonzero(linear):
        slope = predicted.slopes.get(int(i))
        # values of linear parameters are 1 here, where the slope in a logarithm equals the slope in the value
        rows.append(np.zeros(shape) if slope is None else np.broadcast_to(slope, shape))
    basis = np.stack(rows, axis=1)
    return basis, predicted.value - basis.sum(axis=1)


def spread_starts(problem: Problem, best: Array, *, count: int, seed: int, width: float = 0.5) -> Array:
    """`count` starts around `best` [parameters]: normal steps of `width` in search coordinates."""
    steps = np.random.default_rng(seed).normal(scale=width, size=(count, best.shape[0]))
    low, high = problem.model.bounds
    return np.clip(best + steps * np.maximum(1.0, 0.1 * np.abs(best)), low, high)
