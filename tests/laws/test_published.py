"""Published data and figures: optima re-computed from the data, and the papers' own numbers."""

from pathlib import Path

import numpy as np
import pytest

from kbit.laws import fit
from kbit.laws.files import read_table
from kbit.laws.forms import FORMS
from kbit.laws.influence import influence, outlying
from kbit.laws.loss import Loss
from kbit.laws.model import Model
from kbit.laws.optimise import Problem
from kbit.laws.table import where

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "published"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the published data is not beside this repository"),
]


@pytest.fixture(scope="module")
def chinchilla():
    table = read_table(FOLDER / "chinchilla" / "chinchilla_nd_loss.csv")
    return {name: np.array(values, dtype=float) for name, values in table.items()}


@pytest.fixture(scope="module")
def chinchilla_240(chinchilla):
    return where(chinchilla, {"epoch_excluded": 0})


@pytest.mark.parametrize(
    ("parameters", "objective"),
    [
        ((1.8172355, 477.84171, 2143.86379, 0.34731266, 0.36718262), 0.0010182740346),
        ((1.81686, 482.00572, 2085.4342, 0.34781, 0.36585), 0.00101864),
        ((1.69, 406.4, 410.7, 0.34, 0.28), 0.0041210091),
        ((np.exp(0.5267228), np.exp(6.0073404), np.exp(6.0179186), 0.33917084, 0.2849083), 0.0012311626),
    ],
)
def test_objective_of_published_constants(chinchilla_240, parameters, objective):
    form = FORMS["chinchilla"]
    model = Model(form=form, parameters=form.parameters, sign=1.0)
    response = chinchilla_240["loss"]
    problem = Problem(
        model=model,
        columns={"params": chinchilla_240["N"], "tokens": chinchilla_240["D"]},
        response=response,
        weights=np.ones_like(response),
        loss=Loss(name="huber-log"),
    )
    assert problem.objective(model.search(np.array([parameters])))[0] == pytest.approx(objective, rel=2e-4)


@pytest.mark.parametrize("options", [{}, {"starts": 4}, {"seed": 11}, {"starts": 40, "seed": 5}])
def test_chinchilla_240_reaches_the_optimum_from_every_setting(chinchilla_240, options):
    found = fit("chinchilla", chinchilla_240, holdout=None, resamples=3, **options)
    assert found.objective <= 0.0010182740 * (1 + 1e-6)
    expected = {"A": 477.83, "B": 2143.4, "E": 1.81722, "alpha": 0.34731, "beta": 0.36717}
    for name, value in expected.items():
        assert found.parameters[name] == pytest.approx(value, rel=2e-5)
    assert found.diagnostics.share_at_optimum > 0.5
    assert found.diagnostics.gradient_norm < 1e-3
    assert found.diagnostics.bounds_hit == ()


def test_chinchilla_245_with_the_five_excluded_points(chinchilla):
    found = fit("chinchilla", chinchilla, holdout=None, resamples=3)
    assert found.objective == pytest.approx(0.0018260105, rel=1e-6)
    expected = {"A": 495.73, "B": 12845.6, "E": 1.89134, "alpha": 0.34931, "beta": 0.45305}
    for name, value in expected.items():
        assert found.parameters[name] == pytest.approx(value, rel=1e-4)


def test_bootstrap_intervals_are_those_published(chinchilla_240):
    found = fit("chinchilla", chinchilla_240, holdout=None, resamples=400)
    published = {"A": (281, 728), "E": (1.773, 1.878), "alpha": (0.316, 0.372), "beta": (0.332, 0.417)}
    for name, (low, high) in published.items():
        width = high - low
        assert found.ci95[name][0] == pytest.approx(low, abs=0.12 * width), name
        assert found.ci95[name][1] == pytest.approx(high, abs=0.12 * width), name


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("squares", {"E": 1.90509, "A": 4.0005, "B": 1.05095, "alpha": 0.35106, "beta": 0.45874}),
        ("squares-log", {"E": 1.8926, "A": 4.0146, "B": 1.0571, "alpha": 0.3522, "beta": 0.4430}),
    ],
)
def test_chinchilla_217(chinchilla_240, objective, expected):
    keep = 6 * chinchilla_240["N"] * chinchilla_240["D"] < 1e21
    assert keep.sum() == 217
    table = {
        "params": chinchilla_240["N"][keep] / 1e6,
        "tokens": chinchilla_240["D"][keep] / 1e9,
        "loss": chinchilla_240["loss"][keep],
    }
    found = fit("chinchilla", table, holdout=None, resamples=3, objective=objective)
    for name, value in expected.items():
        assert found.parameters[name] == pytest.approx(value, abs=6e-5)
    if objective == "squares":
        assert found.objective == pytest.approx(0.0624143, rel=1e-6)


def test_over_training_predicts_the_two_runs_held_out_by_the_paper():
    table = where(read_table(FOLDER / "gadre" / "gadre_104_models.csv"), {"dataset": "rpj"})
    n, d, loss = (np.array(table[c], dtype=float) for c in ("N", "D", "loss_c4_val"))
    ratio = np.array(table["token_multiplier"], dtype=float)
    fitted = ((ratio == 20) & (n < 1e9)) | ((ratio == 320) & (n < 2e7))
    assert fitted.sum() == 5
    points = {"params": n[fitted], "tokens": d[fitted], "loss": loss[fitted]}
    found = fit("over-training", points, holdout=None, resamples=3)
    out = ((n > 1e9) & (n < 2e9) & (ratio == 640)) | (n > 5e9)
    predicted = found.predict({"params": n[out], "tokens": d[out]}).value
    misses = sorted(100 * np.abs(predicted / loss[out] - 1))
    assert misses == pytest.approx([0.7103, 0.7320], abs=1e-4)


def test_data_constrained_value_of_the_published_constants():
    form = FORMS["data-constrained"]
    model = Model(form=form, parameters=form.parameters, sign=1.0)
    constants = [np.exp(0.6254804), np.exp(6.255414), np.exp(7.3049974), 0.3526596, 15.387756, 5.309743]
    theta = model.search(np.array([constants]))
    columns = {
        "params": np.array([6.34e9, 8.67e9]),
        "tokens": np.array([242e9, 178e9]),
        "unique_tokens": np.array([25e9, 25e9]),
    }
    values = model.values(theta, columns)[0]
    assert values == pytest.approx([2.2256440889984477, 2.2269634075087867], rel=1e-12)


@pytest.mark.slow
def test_the_five_points_that_move_beta_are_found(chinchilla):
    table = {name: chinchilla[name] for name in ("N", "D", "loss")}
    found = fit("chinchilla", table, holdout=None, resamples=3)
    five = {f"row {i + 1}" for i in np.flatnonzero(chinchilla["epoch_excluded"])}
    assert len(five) == 5
    assert {model for model, _ in outlying(found, table, count=5)} == five
    # one by one, two other points of that corner stand among them, because the five hide each other
    assert five <= {item.model for item in influence(found, table)[:7]}
