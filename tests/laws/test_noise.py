"""Noise of models and of rows, against analysis of variance; percentiles, against their definition."""

import numpy as np
import pytest

from kbit.laws.fit import choose_interval
from kbit.laws.forms import FORMS
from kbit.laws.intervals import percentiles
from kbit.laws.loss import Loss
from kbit.laws.model import Model
from kbit.laws.noise import noise_of
from kbit.laws.optimise import Problem

K = (16, 8, 4, 3)


def ladder(models, of_model, of_row, seed):
    """One curve with offsets: every model at every k; residuals of known components, at the true curve."""
    form = FORMS["offset-by-bits"]
    rng = np.random.default_rng(seed)
    size = np.repeat(np.geomspace(5e7, 2e10, models), len(K))
    columns = {"params": size, "bits": np.tile(K, models)}
    from dataclasses import replace

    offsets = tuple(replace(form.offset, name=f"offset[{k}]") for k in K[1:])
    for k in K[1:]:
        columns[f"offset[{k}]"] = (columns["bits"] == k).astype(float)
    model = Model(form=form, parameters=form.parameters + offsets, sign=1.0)
    noise = of_model * np.repeat(rng.normal(size=models), len(K)) + of_row * rng.normal(size=size.size)
    labels = np.repeat([f"m{i}" for i in range(models)], len(K))
    design = np.column_stack(
        [np.ones(size.size), size**-0.3, -60 * size**-0.3 * np.log(size)] + [columns[p.name] for p in offsets]
    )
    fitted = design @ np.linalg.lstsq(design, noise, rcond=None)[0]
    theta = model.search(np.array([1.8, 60.0, 0.3, 0.002, 0.03, 0.09]))
    curve = model.values(theta[None], columns)[0]
    problem = Problem(
        model=model,
        columns=columns,
        response=curve + noise - fitted,  # so that theta is the optimum
        weights=np.ones(size.size),
        loss=Loss(name="squares"),
    )
    return problem, theta, labels, (noise - fitted).reshape(models, len(K))


def test_components_are_those_of_a_balanced_analysis_of_variance():
    problem, theta, labels, residual = ladder(9, 0.02, 0.005, seed=0)
    noise = noise_of(problem, theta, labels, known_errors=False)
    between = len(K) * (residual.mean(axis=1) ** 2).sum() / (9 - 3)
    within = ((residual - residual.mean(axis=1, keepdims=True)) ** 2).sum() / ((9 - 1) * (len(K) - 1))
    assert noise.of_row**2 == pytest.approx(within, rel=1e-6)
    assert noise.of_model**2 == pytest.approx((between - within) / len(K), rel=1e-6)
    assert noise.scale == pytest.approx(np.hypot(noise.of_row, noise.of_model))
    # the curve is known as well as models agree, an offset as well as rows of one model do
    assert noise.degrees[:3] == pytest.approx([6, 6, 6], rel=0.01)  # the limit is that of one level
    assert noise.degrees[3:] == pytest.approx([24, 24, 24], rel=1e-6)
    assert noise.threshold[2] == pytest.approx(between, rel=1e-6)
    assert noise.threshold[4] == pytest.approx(within, rel=1e-6)


def test_with_one_row_a_model_the_noise_is_the_residual_variance():
    problem, theta, labels, residual = ladder(9, 0.02, 0.005, seed=1)
    noise = noise_of(problem, theta, np.array([f"r{i}" for i in range(labels.size)]), known_errors=False)
    variance = (residual**2).sum() / (residual.size - 6)
    assert noise.of_model == 0.0
    assert noise.scale**2 == pytest.approx(variance, rel=1e-9)
    assert noise.threshold == pytest.approx(np.full(6, variance), rel=1e-6)
    assert noise.degrees == pytest.approx(np.full(6, 30.0))


def test_measured_errors_are_never_undercut():
    problem, theta, labels, _ = ladder(9, 0.0, 0.005, seed=2)
    assert noise_of(problem, theta, labels, known_errors=True).of_row == pytest.approx(1.0)


def test_percentiles_leave_out_a_fortieth_on_each_side():
    assert percentiles(np.arange(1.0, 200.0)[:, None])[0] == pytest.approx([5.0, 195.0])
    assert percentiles(np.arange(1.0, 2000.0).reshape(1, -1), axis=1)[0] == pytest.approx([50.0, 1950.0])


def test_models_with_several_rows_get_the_profile_where_resampling_would_be_too_sure():
    assert choose_interval(FORMS["offset-by-bits"], 12) == "profile"
    assert choose_interval(FORMS["power-law"], 12) == "bootstrap"
    assert choose_interval(FORMS["power-law"], 7) == "profile"


def test_a_fit_warns_where_simulated_intervals_do_not_cover():
    from dataclasses import replace

    from kbit.laws.check import _coverage

    form = FORMS["power-law"]
    assert _coverage(replace(form, coverage=(0.94, 0.96))) == []
    assert "too narrow" in _coverage(replace(form, coverage=(0.9, 0.96)))[0]
    assert "wider than they need be" in _coverage(replace(form, coverage=(0.95, 0.98)))[0]
    assert "not simulated" in _coverage(replace(form, coverage=None))[0]
