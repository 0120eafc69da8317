"""Which models a fit hangs on: every model left out in turn, and how far the parameters move."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kbit.errors import LawError
from kbit.laws.dual import Array
from kbit.laws.fit import weights_of
from kbit.laws.optimise import Problem, minimise
from kbit.laws.result import Fit
from kbit.laws.table import Data, Table, read


@dataclass(frozen=True, kw_only=True, slots=True)
class Influence:
    """One model, left out.

    Attributes:
        model: its label.
        rows: how many rows it has.
        shift: parameter -> what it would become without this model, less what it is.
        shift_in_spreads: the largest of those shifts in search coordinates, each over the spread that leaving
            out any one model gives it (1.4826 times the median absolute shift).
        objective_share: of the objective, what this model's rows make up at the optimum.
    """

    model: str
    rows: int
    shift: dict[str, float]
    shift_in_spreads: float
    objective_share: float


def influence(found: Fit, table: Table, *, columns: Mapping[str, str] | None = None) -> list[Influence]:
    """Leave out each model in turn and fit again from the optimum; the most influential first.

    All of these fits are one batch: a row of weights each. Points that pull together can hide each other from
    this; `outlying` looks for them.

    Args:
        found: the fit.
        table: what it was fitted to.
        columns: the roles it was fitted with.

    Raises:
        LawError: the fit has no parameters, or was made from another table.
    """
    data, problem = _problem(found, table, columns)
    theta = _theta(found)
    labels, group = np.unique(data.models, return_inverse=True)
    left, _ = _without_each(problem, theta, group, np.arange(labels.size))
    moved = left - theta
    spread = 1.4826 * np.median(np.abs(moved), axis=0)
    scaled = np.abs(moved) / np.where(spread > 0, spread, np.inf)
    model = problem.model
    natural = model.natural(left) - model.natural(theta)
    loss = problem.weights * problem.loss.rho(problem.residuals(theta[None])[0])
    share = np.bincount(group, weights=loss) / max(float(loss.sum()), 1e-300)
    answer = [
        Influence(
            model=str(labels[i]),
            rows=int((group == i).sum()),
            shift=dict(zip(model.names, map(float, natural[i]), strict=True)),
            shift_in_spreads=float(scaled[i].max()),
            objective_share=float(share[i]),
        )
        for i in range(labels.size)
    ]
    return sorted(answer, key=lambda item: -item.shift_in_spreads)


def outlying(
    found: Fit, table: Table, *, columns: Mapping[str, str] | None = None, count: int = 5
) -> list[tuple[str, float]]:
    """Drop, one after the other, the model without which the law fits best; (model, share of objective gone).

    After each the law is fitted again, so that points which pull it together come to light one by one. How
    many of them are outliers this does not say: look at where the shares level off.

    Args:
        found: the fit.
        table: what it was fitted to.
        columns: the roles it was fitted with.
        count: how many to drop.

    Raises:
        LawError: as for `influence`, or too few models would be left.
    """
    data, problem = _problem(found, table, columns)
    theta = _theta(found)
    labels, group = np.unique(data.models, return_inverse=True)
    if not 0 < count < labels.size - theta.size:
        raise LawError(
            f"{count} of {labels.size} models cannot be dropped: {theta.size} parameters need the rest."
        )
    dropped: list[tuple[str, float]] = []
    left = np.arange(labels.size)
    for _ in range(count):
        before = float(problem.objective(theta[None])[0])
        thetas, objectives = _without_each(problem, theta, group, left)
        at = int(np.argmin(objectives))
        dropped.append((str(labels[left[at]]), 1.0 - float(objectives[at]) / before))
        problem = replace(problem, weights=problem.weights * (group != left[at]))
        theta, left = thetas[at], np.delete(left, at)
    return dropped


def _without_each(
    problem: Problem, theta: Array, group: NDArray[np.intp], models: NDArray[np.intp]
) -> tuple[Array, Array]:
    """Optimum and objective without each of `models`: [models, parameters] and [models]."""
    keep = (group[None, :] != models[:, None]).astype(np.float64)
    batch = replace(problem, weights=keep * problem.weights)
    found = minimise(batch, np.repeat(theta[None], models.size, axis=0))
    return found.theta, found.objective


def _theta(found: Fit) -> Array:
    if found.theta is None:
        raise LawError(f"{found.law!r} has no parameters that could move.")
    return found.theta


def _problem(found: Fit, table: Table, columns: Mapping[str, str] | None) -> tuple[Data, Problem]:
    if found.bound is None or found.loss is None:
        raise LawError(f"{found.law!r} has no parameters that could move.")
    data = read(found.form, table, columns, units=found.input_units, allow_mixed=True)
    if data.content_hash() != found.data_hash:
        raise LawError("this is not the table the law was fitted to: give the same rows and columns.")
    problem = Problem(
        model=found.bound,
        columns=data.columns,
        response=data.response,
        weights=weights_of(data, found.loss),
        loss=found.loss,
    )
    return data, problem
