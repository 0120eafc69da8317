"""What the residuals of a fit say about noise: that of a model, which its rows share, and that of a row."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kbit.laws.dual import Array
from kbit.laws.optimise import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Noise of residuals of weight one, and what it means for each parameter.

    Attributes:
        of_row: standard deviation of what each row has for itself.
        of_model: standard deviation of what all rows of a model have in common; 0 where models have one row.
        degrees: of freedom behind each parameter's variance, [parameters].
        threshold: what one squared t adds to the objective on each parameter's profile, [parameters]; 0 for
            one that is held.
    """

    of_row: float
    of_model: float
    degrees: Array
    threshold: Array

    @property
    def scale(self) -> float:
        """Standard deviation of a new measurement of a new model."""
        return float(np.hypot(self.of_row, self.of_model))


def noise_of(problem: Problem, theta: Array, models: NDArray[np.str_], *, known_errors: bool) -> Noise:
    """Noise at the optimum `theta` [parameters].

    With measured standard errors as weights a row's noise is never taken below them: agreement that is too
    good is luck.
    """
    residual = problem.residuals(theta[None])[0]
    active, free = problem.weights > 0, problem.model.is_free
    if problem.loss.is_robust:
        found = _robust(problem, residual, active, np.unique(models[active]).size, int(free.sum()))
    else:
        root = np.sqrt(problem.weights[active])
        slopes = jacobian(problem, theta)[active][:, free]
        found = _components(root * residual[active], slopes, models[active], known_errors=known_errors)
    degrees, threshold = np.full(free.size, found.degrees.min()), np.zeros(free.size)
    degrees[free], threshold[free] = found.degrees, found.threshold
    return replace(found, degrees=degrees, threshold=threshold)


def _robust(problem: Problem, residual: Array, active: NDArray[np.bool_], models: int, size: int) -> Noise:
    """A robust scale, and the robust likelihood-ratio constant E[psi²]/2E[psi'] (Huber 1981, 7.10)."""
    rows = int(active.sum())
    left = max(1, rows - size)
    loss, weights = problem.loss, problem.weights
    scale = 1.4826 * float(np.median(np.abs(residual[active]))) * float(np.sqrt(rows / left))
    # Few residuals lie within delta when it is small: their density is taken from a window of half the scale.
    window = max(loss.delta, 0.5 * scale)
    density = float((weights * (np.abs(residual) <= window)).sum()) * (loss.delta / window) / rows
    squared = float((weights**2 * loss.psi(residual) ** 2).sum()) / left
    threshold = 0.5 * squared / max(density, 1e-6 / rows)
    degrees = max(1, min(rows - size, models - min(size, 2)))
    return Noise(
        of_row=scale,
        of_model=0.0,
        degrees=np.full(size, float(degrees)),
        threshold=np.full(size, threshold),
    )


def _components(residual: Array, slopes: Array, models: NDArray[np.str_], *, known_errors: bool) -> Noise:
    """Variance components by moments, and each parameter's variance under them.

    Residuals are e = M·y with M = I - H. Both e'e and the squared sums of e over models have expectations
    linear in the two variances (Searle, Casella & McCulloch 1992, chapter 5); degrees of freedom of a
    parameter's variance, a mixture of the two mean squares, are Satterthwaite's (1946).
    """
    rows, size = slopes.shape
    labels, group = np.unique(models, return_inverse=True)
    count = labels.size
    base, _ = np.linalg.qr(slopes / np.maximum(np.sqrt((slopes**2).sum(axis=0)), 1e-300))
    member = np.zeros((rows, count))
    member[np.arange(rows), group] = 1.0
    between = member.T @ member - (member.T @ base) @ (member.T @ base).T  # Z' M Z
    left = max(1, rows - size)
    total = float(residual @ residual)
    shared = 0.0
    own = total / left
    rank = int(np.linalg.matrix_rank(member.T @ base, tol=1e-8))
    within_degrees = rows - count - (size - rank)
    if count < rows and within_degrees > 0:
        trace, square = float(np.trace(between)), float((between * between).sum())
        system = np.array([[left, trace], [trace, square]])
        sums = member.T @ residual
        if np.linalg.cond(system) < 1e12:
            solved = np.linalg.solve(system, np.array([total, float(sums @ sums)]))
            shared = max(0.0, float(solved[1]))
            own = max(0.0, (total - shared * trace) / left)
    if known_errors:
        own = max(own, 1.0)
    inverse = np.linalg.pinv(slopes.T @ slopes, rcond=1e-14, hermitian=True)
    spread = np.maximum(np.diag(inverse), 1e-300)
    pulled = inverse @ slopes.T @ member
    by_model = (pulled**2).sum(axis=1)
    variance = own * spread + shared * by_model
    return Noise(
        of_row=float(np.sqrt(own)),
        of_model=float(np.sqrt(shared)),
        degrees=_degrees(
            own, shared, spread, by_model, rows / count, max(1, count - rank), float(within_degrees)
        ),
        threshold=variance / spread,
    )


def _degrees(
    own: float, shared: float, spread: Array, by_model: Array, each: float, between: int, within: float
) -> Array:
    """Satterthwaite's degrees of freedom for own·spread + shared·by_model."""
    if within <= 0:
        return np.full(spread.shape, float(between))
    first = by_model / each * (own + each * shared)
    second = np.maximum(spread - by_model / each, 0.0) * own
    whole = (first + second) ** 2 / np.maximum(first**2 / between + second**2 / within, 1e-300)
    return np.asarray(np.clip(whole, 1.0, between + within))


def jacobian(problem: Problem, theta: Array) -> Array:
    """Slopes of residuals in search coordinates at `theta` [parameters]: [rows, parameters], weighted."""
    predicted = problem.model.predict(theta[None], problem.columns)
    matrix = np.zeros((problem.rows, theta.shape[0]))
    for i, slope in predicted.slopes.items():
        matrix[:, i] = (slope / predicted.value if problem.loss.is_log else slope)[0]
    return np.asarray(matrix * np.sqrt(problem.weights)[:, None])
