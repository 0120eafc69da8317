"""Batches of refits: the optimum of each resample is that of a slow search of its own."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from kbit.laws.forms import FORMS
from kbit.laws.intervals import draw_weights, resample
from kbit.laws.loss import Loss
from kbit.laws.model import Model
from kbit.laws.multistart import distinct, minimise_each
from kbit.laws.optimise import Problem, minimise
from kbit.laws.starts import grid_starts


def chinchilla(name="huber-log", rows=60):
    rng = np.random.default_rng(2)
    size, data = np.exp(rng.uniform(np.log(5e7), np.log(2e10), rows)), np.exp(rng.uniform(21, 27, rows))
    loss = 1.8 + 480 * size**-0.35 + 2100 * data**-0.37
    form = FORMS["chinchilla"]
    return Problem(
        model=Model(form=form, parameters=form.parameters, sign=1.0),
        columns={"params": size, "tokens": data},
        response=loss * np.exp(0.004 * rng.standard_t(3, rows)),
        weights=np.ones(rows),
        loss=Loss(name=name),
    )


def scipy_objective(problem, weights, values):
    """The objective from the formula as it stands in the paper, at `values` (E, A, B, alpha, beta)."""
    e, a, b, alpha, beta = values
    predicted = e + a * problem.columns["params"] ** -alpha + b * problem.columns["tokens"] ** -beta
    r = np.abs(np.log(predicted) - np.log(problem.response))
    delta = problem.loss.delta
    return float(weights @ np.where(r <= delta, 0.5 * r * r, delta * (r - 0.5 * delta)))


def test_each_resample_ends_where_a_search_without_derivatives_finds_nothing_lower():
    problem = chinchilla()
    models = np.array([f"m{i}" for i in range(problem.rows)])
    counts = resample(models, levels=[], needed=6, resamples=6, seed=1)
    starts = grid_starts(problem, count=6)
    found = minimise_each(replace(problem, weights=counts), distinct(minimise(problem, starts)))
    for weights, theta, objective in zip(counts, found.theta, found.objective, strict=True):
        values = problem.model.natural(theta)
        assert objective == pytest.approx(scipy_objective(problem, weights, values), rel=1e-10)

        def height(step, values=values, weights=weights, objective=objective):
            return scipy_objective(problem, weights, values * np.exp(step)) / objective

        simplex = 0.01 * np.vstack([np.zeros(5), np.eye(5)])
        options = {"initial_simplex": simplex, "xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000, "maxfev": 4000}
        again = minimize(height, np.zeros(5), method="Nelder-Mead", options=options)
        assert again.fun >= 1 - 1e-7


@pytest.mark.parametrize("name", ["huber-log", "squares-log", "squares"])
def test_the_shared_search_ends_where_every_start_of_every_resample_does(name):
    problem = chinchilla(name)
    models = np.array([f"m{i}" for i in range(problem.rows)])
    batch = replace(problem, weights=resample(models, levels=[], needed=6, resamples=60, seed=3))
    starts = grid_starts(problem, count=6)
    shared = minimise_each(batch, distinct(minimise(problem, starts)))
    each = minimise_each(batch, starts)
    assert (shared.objective <= each.objective * (1 + 1e-7)).all()
    assert shared.gradient_norm.max() < 1e-4


def two_valleys():
    """Two steps of one height: a single sigmoid takes either of them, or a slope across both."""
    form = FORMS["sigmoid-link"]
    loss = np.linspace(1.5, 4.2, 30)
    steps = sum(0.3 / (1 + np.exp(10 * (loss - middle))) for middle in (1.9, 3.8))
    return Problem(
        model=Model(form=form, parameters=form.parameters, sign=1.0),
        columns={"loss": loss},
        response=0.25 + steps,
        weights=np.ones(loss.size),
        loss=Loss(name="huber", delta=0.01),
    )


def test_different_optima_are_kept_and_those_that_met_are_merged():
    problem = two_valleys()
    found = minimise(problem, grid_starts(problem, count=30))
    kept = distinct(found)
    assert 2 <= kept.shape[0] <= 4
    heights = problem.objective(kept)
    assert heights[0] == pytest.approx(found.objective.min(), rel=1e-9)
    assert (np.diff(heights) > 1e-6 * heights[0]).all()
    smooth = chinchilla()
    assert distinct(minimise(smooth, grid_starts(smooth, count=8))).shape[0] == 1


def test_a_resample_may_prefer_another_optimum_than_all_the_data():
    problem = two_valleys()
    kept = distinct(minimise(problem, grid_starts(problem, count=30)))
    models = np.array([f"m{i}" for i in range(problem.rows)])
    batch = replace(problem, weights=resample(models, levels=[], needed=7, resamples=40, seed=0))
    best, first = minimise_each(batch, kept), minimise_each(batch, kept[:1])
    assert (best.objective <= first.objective * (1 + 1e-9)).all()
    assert (best.objective < 0.9 * first.objective).any()


def test_rows_of_a_model_stay_together_and_poor_resamples_are_drawn_again():
    models = np.repeat([f"m{i}" for i in range(6)], 3)
    level = np.zeros(18)
    level[:3] = 1.0  # only the first model has it
    counts = resample(models, levels=[level], needed=5, resamples=300, seed=0)
    by_model = counts.reshape(300, 6, 3)
    assert (by_model == by_model[:, :, :1]).all()
    assert (counts.sum(axis=1) == 18).all()
    assert ((by_model[:, :, 0] > 0).sum(axis=1) >= 5).all()
    assert (by_model[:, 0, 0] > 0).all()


def test_huber_fits_are_reweighed_and_squares_resampled():
    models = np.repeat([f"m{i}" for i in range(12)], 2)
    problem = chinchilla(rows=24)
    smooth = draw_weights(problem, models, resamples=4000, seed=0)
    assert (smooth > 0).all()
    by_model = smooth.reshape(4000, 12, 2)
    assert (by_model[:, :, 0] == by_model[:, :, 1]).all()
    # Dirichlet(1, …, 1) of 12: a share has variance (n - 1) / (n² (n + 1))
    share = by_model[:, :, 0] / by_model[:, :, 0].sum(axis=1, keepdims=True)
    assert share.mean(axis=0) == pytest.approx(np.full(12, 1 / 12), rel=0.08)
    assert share.var(axis=0).mean() == pytest.approx(11 / (144 * 13), rel=0.05)
    squares = replace(problem, loss=Loss(name="squares"))
    counts = draw_weights(squares, models, resamples=50, seed=0)
    assert (counts == counts.round()).all()
    assert (counts.sum(axis=1) == 24).all()
