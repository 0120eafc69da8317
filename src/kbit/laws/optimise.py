"""Many fits at once: a batched, damped Gauss-Newton descent with exact slopes and box bounds.

Starts, bootstrap samples, leave-one-out fits and points of a profile are all rows of one batch, so that
NumPy works on long arrays; rows that are done drop out.

Huber's loss with a small delta is nearly absolute: few residuals lie where it bends, and a descent from afar
crawls from kink to kink. So each descent begins with a delta as wide as its residuals and lowers it as it
settles (Madsen & Nielsen 1993, SIAM J. Optim. 3, do the same for absolute losses). Its curvature is that of
the loss plus a share of the parabola that lies above it (psi(r)/r), which fades as steps succeed. At the end
delta is the caller's and the curvature the loss's own. Objectives are scaled by 1/delta, because at their
natural size an optimiser's absolute tolerances stop Huber fits far from the optimum.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kbit.laws.dual import Array
from kbit.laws.loss import Loss
from kbit.laws.model import Model

ELEMENTS = 40_000  # values of one array in a chunk: a handful of such arrays stay in a core's cache
DAMPING = 1e-3  # at the start, and when delta is lowered
LOOSE = 0.1  # expected relative decrease below which delta is lowered


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
        max_iterations: of each descent.
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
        self.held = held
        self.tolerance = tolerance
        self.low, self.high = problem.model.bounds
        loss, count = problem.loss, starts.shape[0]
        measured = np.log(problem.response) if loss.is_log else problem.response
        self.measured = measured if measured.ndim == 1 else measured[which]
        self.weights = problem.weights if problem.weights.ndim == 1 else problem.weights[which]
        # Data that lie on a law exactly have no relative decrease to wait for: rounding is where they end.
        size = 1.0 if loss.is_log else float(np.mean(problem.response**2))
        self.floor = 1e-22 * size * float(problem.weights.mean()) * problem.rows
        self.theta = np.where(held, starts, np.clip(starts, self.low, self.high))
        self.damping = np.full(count, DAMPING)
        self.delta = np.full(count, loss.delta)
        everyone = np.arange(count)
        if loss.is_robust:
            self.floor /= loss.delta
            self.delta = self._wide(everyone, problem.model.values(self.theta, problem.columns))
        self.value, self.gradient, self.curvature = self._evaluate(everyone, self.theta)
        self.value = np.where(np.isfinite(self.value), self.value, np.inf)

    def run(self, max_iterations: int) -> Optima:
        """Descend until every row has settled at the caller's delta."""
        count, size = self.theta.shape
        eye = np.eye(size)
        final = self.problem.loss.delta if self.problem.loss.is_robust else 0.0
        iterations = np.zeros(count, dtype=np.intp)
        quiet = np.zeros(count, dtype=np.intp)
        converged = np.zeros(count, dtype=bool)
        running = np.isfinite(self.value)
        for _ in range(max_iterations):
            index = np.flatnonzero(running)
            if index.size == 0:
                break
            theta, damping = self.theta[index], self.damping[index]
            free = self._free(index)
            gradient = np.where(free, self.gradient[index], 0.0)
            matrix = self.curvature[index]
            if not free.all():
                matrix = np.where(free[:, :, None] & free[:, None, :], matrix, 0.0)
            diagonal = np.einsum("sii->si", matrix)
            lift = damping[:, None] * diagonal + 1e-14 * diagonal.max(axis=1, keepdims=True) + ~free + 1e-300
            step = np.where(free, -_solve(matrix + lift[:, :, None] * eye, gradient), 0.0)
            longest = 8.0 + 0.5 * np.abs(theta)
            step = np.clip(step, -longest, longest)
            candidate = np.where(self.held[index], theta, np.clip(theta + step, self.low, self.high))
            expected = 0.5 * np.abs((gradient * step).sum(axis=1))
            value, slope, bent = self._evaluate(index, candidate)
            before = self.value[index]
            better = np.isfinite(value) & (value <= before) & np.isfinite(slope).all(axis=1)
            taken = index[better]
            self.theta[taken] = candidate[better]
            self.value[taken] = value[better]
            self.gradient[taken] = slope[better]
            self.curvature[taken] = bent[better]
            good = better & (before - value >= 0.25 * expected)
            damping = np.where(good, damping / 5.0, np.where(better, damping, damping * 6.0))
            self.damping[index] = np.clip(damping, 1e-12, 1e15)
            iterations[index] += 1
            small = expected <= np.maximum(self.tolerance * before, self.floor)
            quiet[index] = np.where(small, quiet[index] + 1, 0)
            last = self.delta[index] <= final if final else np.ones(index.size, dtype=bool)
            stuck = (damping >= 1e14) & ~better
            settled = (quiet[index] >= 2) | (small & (damping <= 1e-2)) | stuck
            converged[index] = last & settled
            running[index] = ~(last & settled)
            narrow = index[~last & (settled | (expected <= LOOSE * before))]
            if narrow.size:
                self._narrow(narrow)
        return Optima(
            theta=self.theta,
            objective=self._objective(),
            gradient_norm=self._gradient_norm(),
            iterations=iterations,
            converged=converged,
        )

    def _wide(self, index: NDArray[np.intp], predicted: Array) -> Array:
        """A delta as wide as the residuals of the prediction, never below the caller's."""
        loss = self.problem.loss
        measured = self.measured if self.measured.ndim == 1 else self.measured[index]
        residual = np.abs((np.log(predicted) if loss.is_log else predicted) - measured)
        wide = 2.0 * np.median(np.broadcast_to(residual, (index.size, self.problem.rows)), axis=1)
        return np.where(wide > 2.0 * loss.delta, wide, loss.delta)

    def _narrow(self, index: NDArray[np.intp]) -> None:
        """The next smaller delta."""
        theta = self.theta[index]
        wide = self._wide(index, self.problem.model.values(theta, self.problem.columns))
        least = self.problem.loss.delta
        delta = np.minimum(0.2 * self.delta[index], wide)
        self.delta[index] = np.where(delta > 2.0 * least, delta, least)
        self.damping[index] = np.minimum(self.damping[index], DAMPING)
        self.value[index], self.gradient[index], self.curvature[index] = self._evaluate(index, theta)

    def _evaluate(self, index: NDArray[np.intp], theta: Array) -> tuple[Array, Array, Array]:
        """Value, gradient and curvature of the scaled objective, at the delta of each descent."""
        problem, loss = self.problem, self.problem.loss
        measured = self.measured if self.measured.ndim == 1 else self.measured[index]
        weights = self.weights if self.weights.ndim == 1 else self.weights[index]
        predicted = problem.model.predict(theta, problem.columns)
        shape = (theta.shape[0], problem.rows)
        heights = np.broadcast_to(predicted.value, shape)
        residual = (np.log(heights) if loss.is_log else heights) - measured
        jacobian = np.zeros((theta.shape[0], theta.shape[1], problem.rows))
        inverse = 1.0 / heights if loss.is_log else None
        for i, slope in predicted.slopes.items():
            if inverse is None:
                jacobian[:, i, :] = slope
            else:
                np.multiply(slope, inverse, out=jacobian[:, i, :])
        if loss.is_robust:
            # in units of delta, so that objectives at different deltas have one scale
            delta = self.delta[index, None]
            size = np.abs(residual)
            inside = np.minimum(size, delta)
            value = np.einsum("sr,sr->s", np.broadcast_to(weights, shape), inside * (size - 0.5 * inside))
            value /= self.delta[index]
            pull = weights * np.clip(residual, -delta, delta) / delta
            share = np.minimum(self.damping[index, None] / 5.0, 1.0)
            stiff = weights * ((size <= delta) / delta + share / np.maximum(size, delta))
        else:
            pull = 2.0 * (weights * residual)
            value = 0.5 * (pull * residual).sum(axis=1)
            stiff = np.broadcast_to(2.0 * weights, shape)
        gradient = np.matmul(jacobian, pull[:, :, None])[:, :, 0]
        return value, gradient, np.matmul(jacobian * stiff[:, None, :], jacobian.transpose(0, 2, 1))

    def _objective(self) -> Array:
        """The unscaled objective of the caller's loss."""
        loss = self.problem.loss
        predicted = self.problem.model.values(self.theta, self.problem.columns)
        residual = (np.log(predicted) if loss.is_log else predicted) - self.measured
        return np.asarray((self.weights * loss.rho(residual)).sum(axis=-1))

    def _gradient_norm(self) -> Array:
        free = np.where(self._free(np.arange(self.theta.shape[0])), self.gradient, 0.0)
        return np.asarray(np.sqrt((free * free).sum(axis=1)))

    def _free(self, index: NDArray[np.intp]) -> NDArray[np.bool_]:
        theta, gradient = self.theta[index], self.gradient[index]
        blocked = ((theta <= self.low) & (gradient > 0)) | ((theta >= self.high) & (gradient < 0))
        return ~(self.held[index] | blocked)


def _solve(matrices: Array, vectors: Array) -> Array:
    try:
        return np.asarray(np.linalg.solve(matrices, vectors[:, :, None])[:, :, 0])
    except np.linalg.LinAlgError:
        return np.stack(
            [np.linalg.lstsq(m, v, rcond=None)[0] for m, v in zip(matrices, vectors, strict=True)]
        )
