"""`fit`: a law to a table, with intervals, the largest models held out as a test, and warnings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kbit.errors import LawError
from kbit.laws import intervals
from kbit.laws.check import check_data, check_fit
from kbit.laws.dual import Array
from kbit.laws.form import Direction, Form
from kbit.laws.forms import form as form_of
from kbit.laws.interpolate import Knots, monotone
from kbit.laws.loss import OBJECTIVES, Loss
from kbit.laws.model import Model
from kbit.laws.multistart import distinct
from kbit.laws.noise import Noise, jacobian, noise_of
from kbit.laws.optimise import Optima, Problem, minimise
from kbit.laws.profile import limits, profile
from kbit.laws.result import Diagnostics, Fit, HeldOut, HeldOutRow
from kbit.laws.starts import grid_starts, spread_starts
from kbit.laws.table import Data, Table, direction_of, read

VERSION = "3"  # of the algorithm: a saved fit of another version is not the same fit
Interval = Literal["auto", "bootstrap", "profile"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Solution:
    """One optimum of a form on some data."""

    model: Model
    problem: Problem
    theta: Array
    objective: float
    optima: Optima


def fit(
    law: str,
    table: Table,
    *,
    columns: Mapping[str, str] | None = None,
    holdout: str | int | None = "largest",
    objective: str | None = None,
    delta: float = 1e-3,
    direction: Direction | None = None,
    interval: Interval = "auto",
    resamples: int = 1000,
    starts: int = 24,
    allow_narrow: bool = False,
    allow_mixed: bool = False,
    units: Mapping[str, str] | None = None,
    fixed: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Fit:
    """Fit a law to a table.

    Args:
        law: name of a form, as `kbit ls laws` lists them.
        table: columns (name -> values) or rows (a mapping each); nothing of the store is known here.
        columns: role -> column where the names do not say it: the form's inputs, one response (gain, loss,
            accuracy, value, …), model (what is resampled and held out together), standard_error (measured;
            its inverse square becomes the weight), weight.
        holdout: "largest" (the model with the most of the first input), a number of such models, or None.
            The test is a second fit; `parameters` are fitted to every row.
        objective: a key of `OBJECTIVES`; by default the form's own.
        delta: where Huber's loss turns linear.
        direction: whether the response rises or falls with size, where its name does not say.
        interval: "bootstrap" (by model), "profile" (profile likelihood), or "auto": profile below eight
            models.
        resamples: refits for intervals and predictions.
        starts: of the search: half from the form's grid, half around the best of them.
        allow_narrow: fit although an input spans less than a decade.
        allow_mixed: fit although rows have no common unit (several texts, tokenisers, contexts, metrics).
        units: input role -> unit of its column (`kbit.laws.units.UNITS`), where that is not the law's own.
        fixed: parameter -> value at which it is held instead of being fitted.
        seed: of everything drawn.

    Raises:
        LawError: the data cannot carry this law, or an argument is unknown; the message says what to do.
    """
    form = form_of(law).holding(fixed) if fixed else form_of(law)
    data = read(form, table, columns, units=units, allow_mixed=allow_mixed)
    way = direction_of(form, data, direction)
    loss = _loss(form, data, objective, delta)
    notes = check_data(form, data, allow_narrow=allow_narrow)
    if loss.is_log and (data.response <= 0).any():
        raise LawError(
            f"objective {loss.name!r} takes logarithms, but the response has values at or below zero: "
            "choose --objective squares or huber."
        )
    fitted = _fit_rows(form, data, way, loss, interval, resamples, starts, seed)
    held, held_notes = _hold_out(form, data, way, loss, holdout, resamples, starts, seed)
    result = replace(
        fitted, held_out=held, warnings=(), fixed=dict(fixed or {}), input_units=dict(units or {})
    )
    return replace(result, warnings=(*notes, *check_fit(result, data), *held_notes))


def _loss(form: Form, data: Data, objective: str | None, delta: float) -> Loss:
    if objective is not None:
        return Loss(name=objective, delta=delta)
    if data.standard_error is not None:
        return Loss(name="squares-log" if form.objective.endswith("-log") else "squares", delta=delta)
    return Loss(name=form.objective, delta=delta)


def weights_of(data: Data, loss: Loss) -> Array:
    """The caller's weights, over the variance where errors were measured (relative for a log loss)."""
    if data.standard_error is None:
        return data.weight
    error = data.standard_error / np.abs(data.response) if loss.is_log else data.standard_error
    return np.asarray(data.weight / error**2)


def choose_interval(form: Form, models: int) -> Literal["bootstrap", "profile"]:
    """Which interval `auto` means for so many models."""
    return "profile" if models < form.bootstrap_from else "bootstrap"


def solve(form: Form, data: Data, way: Direction, loss: Loss, *, starts: int, seed: int) -> _Solution:
    """The optimum of a form with a formula: starts from its grid, then around the best."""
    model = Model.of(form, data, way)
    problem = Problem(
        model=model, columns=data.columns, response=data.response, weights=weights_of(data, loss), loss=loss
    )
    first = grid_starts(problem, count=max(1, starts // 2))
    found = minimise(problem, first)
    best = found.theta[int(np.nanargmin(found.objective))]
    again = minimise(problem, spread_starts(problem, best, count=max(1, starts - first.shape[0]), seed=seed))
    optima = Optima(
        theta=np.concatenate([found.theta, again.theta]),
        objective=np.concatenate([found.objective, again.objective]),
        gradient_norm=np.concatenate([found.gradient_norm, again.gradient_norm]),
        iterations=np.concatenate([found.iterations, again.iterations]),
        converged=np.concatenate([found.converged, again.converged]),
    )
    if not np.isfinite(optima.objective).any():
        raise LawError(
            f"law {form.name!r}: no start gave a finite objective; look at the data's units and signs."
        )
    i = int(np.nanargmin(np.where(np.isfinite(optima.objective), optima.objective, np.inf)))
    return _Solution(
        model=model,
        problem=problem,
        theta=optima.theta[i],
        objective=float(optima.objective[i]),
        optima=optima,
    )


def _fit_rows(
    form: Form,
    data: Data,
    way: Direction,
    loss: Loss,
    interval: Interval,
    resamples: int,
    starts: int,
    seed: int,
) -> Fit:
    if interval not in ("auto", "bootstrap", "profile"):
        raise LawError(f"interval is auto, bootstrap or profile; got {interval!r}.")
    if form.is_interpolation:
        return _interpolate(form, data, way, resamples, seed)
    found = solve(form, data, way, loss, starts=starts, seed=seed)
    known = data.standard_error is not None
    noise = noise_of(found.problem, found.theta, data.models, known_errors=known)
    optima = distinct(found.optima)
    by_profile = (choose_interval(form, data.model_count) if interval == "auto" else interval) == "profile"
    if by_profile:
        ends = profile(
            found.problem,
            found.theta[None],
            np.array([found.objective]),
            limits(noise.degrees, noise.threshold)[None],
        )[0]
        draws = intervals.parametric(
            found.problem, optima, data.models, noise, resamples=resamples, seed=seed
        )
        few, many = (f"{d:.3g}" for d in (noise.degrees.min(), noise.degrees.max()))
        freedom = few if few == many else f"{few} to {many}"
        how = (
            f"profile likelihood ({data.model_count} models, t with {freedom} degrees of freedom); "
            f"predictions from {resamples} parametric draws"
        )
    else:
        draws = intervals.bootstrap(found.problem, optima, data.models, resamples=resamples, seed=seed)
        ends = intervals.percentiles(draws)
        drawn = "exponential weights" if loss.is_robust else "resamples"
        how = f"bootstrap by model ({resamples} {drawn} of {data.model_count} models, percentiles)"
    names = found.model.names
    natural = found.model.natural(found.theta)
    natural_ends = found.model.natural(ends.T)
    return Fit(
        law=form.name,
        form=form,
        direction=way,
        parameters=dict(zip(names, map(float, natural), strict=True)),
        units={p.name: p.unit for p in found.model.parameters},
        ci95={n: (float(natural_ends[0, i]), float(natural_ends[1, i])) for i, n in enumerate(names)},
        interval=how,
        objective=found.objective,
        objective_name=OBJECTIVES[loss.name] + (f", delta {loss.delta:g}" if loss.is_robust else ""),
        held_out=None,
        warnings=(),
        diagnostics=_diagnostics(found, data, noise),
        rows=data.rows,
        models=data.model_count,
        dropped=data.dropped,
        response=data.response_role,
        sources=data.sources,
        seed=seed,
        version=VERSION,
        data_hash=data.content_hash(),
        is_log=loss.is_log,
        input_ranges=_ranges(form, data),
        levels=data.levels,
        loss=loss,
        bound=found.model,
        theta=found.theta,
        draws=draws,
    )


def _interpolate(form: Form, data: Data, way: Direction, resamples: int, seed: int) -> Fit:
    size = data.columns[form.inputs[0].role]
    weights = weights_of(data, Loss(name="squares"))
    knots = monotone(size, data.response, weights, rising=way == "rising")
    fitted = knots.values(size)
    residual = data.response - fitted
    labels, group = np.unique(data.models, return_inverse=True)
    rng = np.random.default_rng(seed)
    draws: list[Knots] = []
    for _ in range(resamples):
        counts = rng.multinomial(labels.size, np.full(labels.size, 1.0 / labels.size))[group]
        draws.append(monotone(size, data.response, weights * counts, rising=way == "rising"))
    spread = float(np.sqrt(np.mean(residual**2)))
    if data.standard_error is not None:
        spread = max(spread, float(np.sqrt(np.mean(data.standard_error**2))))
    nan = float("nan")
    return Fit(
        law=form.name,
        form=form,
        direction=way,
        parameters={},
        units={},
        ci95={},
        interval=f"bootstrap by model ({resamples} resamples of {data.model_count} models)",
        objective=float((weights * residual**2).sum()),
        objective_name=OBJECTIVES["squares"],
        held_out=None,
        warnings=(),
        diagnostics=Diagnostics(
            starts=1,
            share_at_optimum=1.0,
            gradient_norm=0.0,
            bounds_hit=(),
            condition_number=nan,
            condition_number_projected=nan,
            residual_scale=spread,
            r_squared=_r_squared(data.response, fitted),
            aicc=nan,
        ),
        rows=data.rows,
        models=data.model_count,
        dropped=data.dropped,
        response=data.response_role,
        sources=data.sources,
        seed=seed,
        version=VERSION,
        data_hash=data.content_hash(),
        is_log=False,
        input_ranges=_ranges(form, data),
        levels=data.levels,
        knots=knots,
        knot_draws=tuple(draws),
    )


def _ranges(form: Form, data: Data) -> dict[str, tuple[float, float]]:
    return {
        i.role: (float(data.columns[i.role].min()), float(data.columns[i.role].max()))
        for i in form.inputs
        if i.size
    }


def _r_squared(measured: Array, fitted: Array) -> float:
    total = float(((measured - measured.mean()) ** 2).sum())
    return 1.0 - float(((measured - fitted) ** 2).sum()) / total if total > 0 else float("nan")


def _diagnostics(found: _Solution, data: Data, noise: Noise) -> Diagnostics:
    objective = found.optima.objective
    near = objective <= found.objective * (1.0 + 1e-6) + 1e-300
    i = int(np.nanargmin(np.where(np.isfinite(objective), objective, np.inf)))
    low, high = found.model.bounds
    near_bound = 1e-9 * np.maximum(1.0, np.abs(found.theta))
    free = found.model.is_free
    hit = free & ((found.theta <= low + near_bound) | (found.theta >= high - near_bound))
    fitted = found.model.values(found.theta[None], data.columns)[0]
    size, rows = int(free.sum()), data.rows
    full, projected = _conditions(found)
    residual = found.problem.residuals(found.theta[None])[0]
    squares = float((found.problem.weights / found.problem.weights.mean() * residual**2).sum())
    counted = size + 1  # the noise is a parameter too
    penalty = 2.0 * counted * (counted + 1) / (rows - counted - 1) if rows > counted + 1 else float("inf")
    scale = noise.scale
    if data.standard_error is not None:
        # weights are inverse variances: back to the unit of the response, at a typical row
        scale = noise.scale / float(np.sqrt(np.median(found.problem.weights)))
    return Diagnostics(
        starts=int(objective.size),
        share_at_optimum=float(np.mean(near)),
        gradient_norm=float(found.optima.gradient_norm[i]),
        bounds_hit=tuple(n for n, is_hit in zip(found.model.names, hit, strict=True) if is_hit),
        condition_number=full,
        condition_number_projected=projected,
        residual_scale=scale,
        r_squared=_r_squared(data.response, fitted),
        aicc=rows * float(np.log(max(squares, 1e-300) / rows)) + 2.0 * counted + penalty,
    )


def _conditions(found: _Solution) -> tuple[float, float]:
    """Condition numbers of the curvature: in the formula's parameters, and less the linear ones."""
    slopes = jacobian(found.problem, found.theta)
    natural = found.model.natural(found.theta)
    own = slopes / np.where(found.model.is_log, natural, 1.0)
    free = found.model.is_free
    slopes, own = slopes[:, free], own[:, free]
    linear = np.array([p.linear for p in found.model.parameters])[free]
    full = float(np.linalg.cond(own) ** 2)
    if linear.all() or not linear.any():
        return full, full
    base, _ = np.linalg.qr(slopes[:, linear])
    rest = own[:, ~linear] - base @ (base.T @ own[:, ~linear])
    return full, float(np.linalg.cond(rest) ** 2)


def _hold_out(
    form: Form,
    data: Data,
    way: Direction,
    loss: Loss,
    holdout: str | int | None,
    resamples: int,
    starts: int,
    seed: int,
) -> tuple[HeldOut | None, list[str]]:
    if holdout in (None, "none", 0):
        return None, ["nothing was held out: how well this law extrapolates is unknown."]
    if holdout == "largest":
        count = 1
    elif isinstance(holdout, int) and not isinstance(holdout, bool) and holdout > 0:
        count = holdout
    else:
        raise LawError(f"holdout is 'largest', a number of models, or None; got {holdout!r}.")
    size = data.columns[form.inputs[0].role]
    labels, group = np.unique(data.models, return_inverse=True)
    largest = np.zeros(labels.size)
    np.maximum.at(largest, group, size)
    # models that share the largest size go together: half of a tie would leave the size in the fit
    cut = np.sort(np.unique(largest))[::-1][:count][-1]
    out = (largest >= cut)[group]
    kept = data.take(~out)
    try:
        check_data(form, kept, allow_narrow=True)
        test = _fit_rows(form, kept, way, loss, "auto", min(resamples, 500), starts, seed)
    except LawError as error:
        return None, [f"nothing could be held out: without the largest models, {error}"]
    left = data.take(out)
    known = np.ones(left.rows, dtype=bool)
    for role, column in left.columns.items():
        if form.offset is not None and role.startswith(f"{form.offset.name}["):
            known &= (column == 0) | (kept.columns[role].max() > 0)
    left = left.take(known)
    if left.rows == 0:
        return None, ["nothing could be held out: the largest models have levels that no other model has."]
    inputs = {i.role: left.columns[i.role] for i in form.inputs}
    prediction = test.predict(inputs, seed=seed)
    rows = tuple(
        HeldOutRow(
            model=str(left.models[i]),
            inputs={role: float(values[i]) for role, values in inputs.items()},
            measured=float(left.response[i]),
            predicted=float(prediction.value[i]),
            prediction95=(float(prediction.prediction95[0][i]), float(prediction.prediction95[1][i])),
            miss=float(prediction.value[i] - left.response[i]),
            relative_miss=float((prediction.value[i] - left.response[i]) / abs(left.response[i]))
            if left.response[i]
            else float("nan"),
            within=bool(prediction.prediction95[0][i] <= left.response[i] <= prediction.prediction95[1][i]),
        )
        for i in range(left.rows)
    )
    held = HeldOut(
        models=tuple(dict.fromkeys(r.model for r in rows)),
        rows=rows,
        mean_absolute_miss=float(np.mean([abs(r.miss) for r in rows])),
        mean_absolute_relative_miss=float(np.mean([abs(r.relative_miss) for r in rows])),
        extrapolation=float(prediction.extrapolation.max()),
        parameters=test.parameters,
    )
    outside = sum(not r.within for r in rows)
    notes = []
    if outside:
        notes.append(
            f"the held-out test failed: {outside} of {len(rows)} rows of {', '.join(held.models)} lie "
            "outside their 95% "
            "prediction interval; do not extrapolate with this law."
        )
    return held, notes
