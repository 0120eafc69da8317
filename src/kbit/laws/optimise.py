"""Many fits at once: a batched Levenberg-Marquardt descent, then BFGS, with exact gradients and box bounds.

Starts, bootstrap samples, leave-one-out fits and points of a profile are all rows of one batch, so that
NumPy works on long arrays. The first phase steps on the majorising parabola of the loss (it cannot
diverge, but creeps where the loss is nearly absolute); the second learns the true curvature. Objectives
are scaled by 1/delta, because at their natural size an optimiser's absolute tolerances stop Huber fits far
from the optimum.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kbit.laws.dual import Array
from kbit.laws.loss import Loss
from kbit.laws.model import Model

ELEMENTS = 40_000  # values of one array in a chunk: a handful of such arrays stay in a core's cache


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """What is minimised; `response` and `weights` are [rows], or [problems, rows] for a batch."""

    model: Model
    columns: Mapping[str, Array]
    response: Array
    weights: Array
    loss: Loss

    @property
    def rows(self) -> int:
        """How many rows of data there are."""
        return int(self.response.shape[-1])

    def residuals(self, theta: Array, which: NDArray[np.intp] | None = None) -> Array:
        """Prediction - measured (of logarithms where the loss says so), [starts, rows]."""
        predicted = self.model.values(theta, self.columns)
        measured = self.response if which is None or self.response.ndim == 1 else self.response[which]
        return np.asarray(np.log(predicted) - np.log(measured) if self.loss.is_log else predicted - measured)

    def objective(self, theta: Array, which: NDArray[np.intp] | None = None) -> Array:
        """The unscaled objective at each theta, [starts]."""
        weights = self.weights if which is None or self.weights.ndim == 1 else self.weights[which]
        with np.errstate(all="ignore"):
            return np.asarray((weights * self.loss.rho(self.residuals(theta, which))).sum(axis=-1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Optima:
    """Where each start ended; `gradient_norm` is that of the scaled objective in search coordinates."""

    theta: Array
    objective: Array
    gradient_norm: Array
    iterations: NDArray[np.intp]
    converged: NDArray[np.bool_]


def minimise(
    problem: Problem,
    starts: Array,
    *,
    which: NDArray[np.intp] | None = None,
    fixed: NDArray[np.bool_] | None = None,
    max_iterations: int = 200,
    tolerance: float = 1e-11,
) -> Optima:
    """Descend from every start.

    Args:
        problem: what to minimise.
        starts: [starts, parameters], search coordinates.
        which: for a batch of different problems, the problem each start belongs to.
        fixed: [starts, parameters] or [parameters], true where a coordinate stays at its start.
        max_iterations: of the two phases together.
        tolerance: a start is done when the expected relative decrease is below it.
    """
    count = starts.shape[0]
    if which is None:
        which = (
            np.zeros(count, dtype=np.intp)
            if problem.response.ndim == problem.weights.ndim == 1
            else np.arange(count)
        )
    held = np.zeros(starts.shape, dtype=bool) if fixed is None else np.broadcast_to(fixed, starts.shape)
    chunk = max(1, ELEMENTS // max(problem.rows, 1))
    parts = []
    with np.errstate(all="ignore"):
        for at in range(0, count, chunk):
            rows = slice(at, at + chunk)
            descent = _Descent(problem, starts[rows], which[rows], held[rows], tolerance)
            parts.append(descent.run(max_iterations))
    return Optima(
        theta=np.concatenate([p.theta for p in parts]),
        objective=np.concatenate([p.objective for p in parts]),
        gradient_norm=np.concatenate([p.gradient_norm for p in parts]),
        iterations=np.concatenate([p.iterations for p in parts]),
        converged=np.concatenate([p.converged for p in parts]),
    )


class _Descent:
    """One chunk of starts on their way down."""

    def __init__(
        self,
        problem: Problem,
        starts: Array,
        which: NDArray[np.intp],
        held: NDArray[np.bool_],
        tolerance: float,
    ) -> None:
        self.problem = problem
        self.which = which
        self.held = held
        self.tolerance = tolerance
        self.scale = 1.0 / problem.loss.delta if problem.loss.is_robust else 1.0
        self.low, self.high = problem.model.bounds
        # Data that lie on a law exactly have no relative decrease to wait for: rounding is where they end.
        size = 1.0 if problem.loss.is_log else float(np.mean(problem.response**2))
        self.floor = 1e-22 * self.scale * size * float(problem.weights.mean()) * problem.rows
        self.theta = np.where(held, starts, np.clip(starts, self.low, self.high))
        self.iterations = np.zeros(starts.shape[0], dtype=np.intp)
        self.converged = np.zeros(starts.shape[0], dtype=bool)
        self.value, self.gradient, self.curvature = self._evaluate(np.arange(starts.shape[0]), self.theta)
        self.value = np.where(np.isfinite(self.value), self.value, np.inf)

    def run(self, max_iterations: int) -> Optima:
        first = min(60 if self.problem.loss.is_robust else max_iterations, max_iterations)
        self._levenberg_marquardt(first)
        if self.problem.loss.is_robust:
            self.converged[:] = False
            self._bfgs(max_iterations - first)
        free = np.where(self._free(slice(None)), self.gradient, 0.0)
        return Optima(
            theta=self.theta,
            objective=self.value / self.scale,
            gradient_norm=np.sqrt((free * free).sum(axis=1)),
            iterations=self.iterations,
            converged=self.converged,
        )

    def _evaluate(
        self, index: NDArray[np.intp], theta: Array, *, curvature: bool = True
    ) -> tuple[Array, Array, Array]:
        problem = self.problem
        which = self.which[index]
        measured = problem.response if problem.response.ndim == 1 else problem.response[which]
        weights = problem.weights if problem.weights.ndim == 1 else problem.weights[which]
        predicted = problem.model.predict(theta, problem.columns)
        shape = (theta.shape[0], problem.rows)
        if problem.loss.is_log:
            residual = np.log(predicted.value) - np.log(measured)
        else:
            residual = predicted.value - measured
        residual = np.broadcast_to(residual, shape)
        value = self.scale * (weights * problem.loss.rho(residual)).sum(axis=1)
        jacobian = np.zeros((theta.shape[0], theta.shape[1], problem.rows))
        for i, slope in predicted.slopes.items():
            jacobian[:, i, :] = slope / predicted.value if problem.loss.is_log else slope
        pull = self.scale * weights * problem.loss.psi(residual)
        gradient = np.matmul(jacobian, pull[:, :, None])[:, :, 0]
        if not curvature:
            return value, gradient, np.empty((0, 0, 0))
        stiff = self.scale * weights * problem.loss.majoriser(residual)
        bent = np.matmul(jacobian * stiff[:, None, :], jacobian.transpose(0, 2, 1))
        return value, gradient, bent

    def _free(self, index: NDArray[np.intp] | slice) -> NDArray[np.bool_]:
        theta, gradient = self.theta[index], self.gradient[index]
        blocked = ((theta <= self.low) & (gradient > 0)) | ((theta >= self.high) & (gradient < 0))
        return ~(self.held[index] | blocked)

    def _levenberg_marquardt(self, limit: int) -> None:
        count, size = self.theta.shape
        damping = np.full(count, 1e-3)
        eye = np.eye(size)
        quiet = np.zeros(count, dtype=np.intp)
        for _ in range(limit):
            index = np.flatnonzero(~self.converged & np.isfinite(self.value))
            if index.size == 0:
                return
            free = self._free(index)
            gradient = np.where(free, self.gradient[index], 0.0)
            both = free[:, :, None] & free[:, None, :]
            matrix = np.where(both, self.curvature[index], 0.0)
            diagonal = np.einsum("sii->si", matrix)
            top = diagonal.max(axis=1, keepdims=True)
            lift = damping[index, None] * diagonal + 1e-14 * top + np.where(free, 0.0, 1.0) + 1e-300
            step = np.where(free, -_solve(matrix + lift[:, :, None] * eye, gradient), 0.0)
            step = np.clip(
                step, -8.0 - 0.5 * np.abs(self.theta[index]), 8.0 + 0.5 * np.abs(self.theta[index])
            )
            candidate = np.where(
                self.held[index], self.theta[index], np.clip(self.theta[index] + step, self.low, self.high)
            )
            value, slope, bent = self._evaluate(index, candidate)
            better = np.isfinite(value) & (value <= self.value[index]) & np.isfinite(slope).all(axis=1)
            expected = 0.5 * np.abs((gradient * step).sum(axis=1))
            small = expected <= np.maximum(self.tolerance * self.value[index], self.floor)
            quiet[index] = np.where(small, quiet[index] + 1, 0)
            taken = index[better]
            self.theta[taken] = candidate[better]
            self.value[taken] = value[better]
            self.gradient[taken] = slope[better]
            self.curvature[taken] = bent[better]
            damping[index] = np.clip(
                np.where(better, damping[index] / 6.0, damping[index] * 8.0), 1e-12, 1e15
            )
            self.iterations[index] += 1
            self.converged[index] = (quiet[index] >= 2) | ((damping[index] >= 1e14) & ~better)

    def _bfgs(self, limit: int) -> None:
        count, size = self.theta.shape
        eye = np.eye(size)
        diagonal = np.einsum("sii->si", self.curvature)
        lift = 1e-10 * diagonal + np.where(diagonal > 0, 0.0, 1.0)
        inverse = _inverse(self.curvature + lift[:, :, None] * eye)
        steepest = np.where(diagonal > 0, 1.0 / np.maximum(diagonal, 1e-300), 1.0)
        quiet = np.zeros(count, dtype=np.intp)
        for _ in range(limit):
            index = np.flatnonzero(~self.converged & np.isfinite(self.value))
            if index.size == 0:
                return
            free = self._free(index)
            gradient = np.where(free, self.gradient[index], 0.0)
            direction = np.where(free, -np.matmul(inverse[index], gradient[:, :, None])[:, :, 0], 0.0)
            slope = (direction * gradient).sum(axis=1)
            bad = ~(slope < 0) | ~np.isfinite(direction).all(axis=1)
            if bad.any():
                inverse[index[bad]] = eye * steepest[index[bad], None, :]
                direction[bad] = -gradient[bad] * steepest[index[bad]]
                slope = (direction * gradient).sum(axis=1)
            candidate, value, pull, moved = self._line_search(index, direction, slope)
            step = candidate - self.theta[index]
            change = pull - self.gradient[index]
            self._learn(inverse, index[moved], step[moved], change[moved])
            decrease = np.where(moved, self.value[index] - value, 0.0)
            expected = np.maximum(0.5 * np.abs(slope), decrease)
            quiet[index] = np.where(
                expected <= np.maximum(self.tolerance * self.value[index], self.floor), quiet[index] + 1, 0
            )
            stuck = ~moved
            quiet[index[stuck]] += 1
            inverse[index[stuck]] = eye * steepest[index[stuck], None, :]
            taken = index[moved]
            self.theta[taken] = candidate[moved]
            self.value[taken] = value[moved]
            self.gradient[taken] = pull[moved]
            self.iterations[index] += 1
            self.converged[index] = quiet[index] >= 2

    def _line_search(
        self, index: NDArray[np.intp], direction: Array, slope: Array
    ) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
        length = np.ones(index.size)
        candidate = self.theta[index].copy()
        value = self.value[index].copy()
        pull = self.gradient[index].copy()
        moved = np.zeros(index.size, dtype=bool)
        for _ in range(12):
            todo = np.flatnonzero(~moved)
            if todo.size == 0:
                break
            at = index[todo]
            trial = self.theta[at] + length[todo, None] * direction[todo]
            trial = np.where(self.held[at], self.theta[at], np.clip(trial, self.low, self.high))
            height, lean, _ = self._evaluate(at, trial, curvature=False)
            enough = height <= self.value[at] + 1e-4 * length[todo] * slope[todo]
            good = np.isfinite(height) & enough & np.isfinite(lean).all(axis=1)
            won = todo[good]
            candidate[won], value[won], pull[won], moved[won] = trial[good], height[good], lean[good], True
            length[todo[~good]] *= 0.2
        return candidate, value, pull, moved

    @staticmethod
    def _learn(inverse: Array, index: NDArray[np.intp], step: Array, change: Array) -> None:
        curvature = (step * change).sum(axis=1)
        limit = 1e-12 * np.sqrt((step * step).sum(axis=1) * (change * change).sum(axis=1))
        good = curvature > limit
        if not good.any():
            return
        at, s, y, rho = index[good], step[good], change[good], 1.0 / curvature[good]
        known = inverse[at]
        hy = np.matmul(known, y[:, :, None])[:, :, 0]
        yhy = (y * hy).sum(axis=1)
        outer = s[:, :, None] * s[:, None, :]
        cross = s[:, :, None] * hy[:, None, :]
        inverse[at] = (
            known
            + ((1.0 + rho * yhy) * rho)[:, None, None] * outer
            - rho[:, None, None] * (cross + cross.transpose(0, 2, 1))
        )


def _solve(matrices: Array, vectors: Array) -> Array:
    try:
        return np.asarray(np.linalg.solve(matrices, vectors[:, :, None])[:, :, 0])
    except np.linalg.LinAlgError:
        return np.stack(
            [np.linalg.lstsq(m, v, rcond=None)[0] for m, v in zip(matrices, vectors, strict=True)]
        )


def _inverse(matrices: Array) -> Array:
    try:
        return np.asarray(np.linalg.inv(matrices))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.pinv(matrices))
