"""Every form's slopes against finite differences, and the table itself."""

import numpy as np
import pytest

from kbit.laws.forms import FORMS, listing
from kbit.laws.model import Model
from kbit.laws.table import read

RANGES = {
    "params": (1e6, 1e10),
    "tokens": (1e8, 1e12),
    "unique_tokens": (1e8, 1e11),
    "stored_bits": (1e6, 1e11),
    "bits": (2.0, 16.0),
    "mse": (1e-4, 0.3),
    "loss": (1.5, 4.0),
}
FORMULAS = [f.name for f in FORMS.values() if not f.is_interpolation]


def bound(name, seed=0):
    form = FORMS[name]
    rng = np.random.default_rng(seed)
    table = {i.role: np.exp(rng.uniform(*np.log(RANGES[i.role]), size=9)) for i in form.inputs}
    if form.levels_input is not None:
        table["bits"] = np.array([16, 8, 4] * 3)
    table["value"] = rng.uniform(1, 2, size=9)
    data = read(form, table, {i.role: i.role for i in form.inputs} | {"value": "value"})
    model = Model.of(form, data, form.directions[0])
    low, high = model.bounds
    middle = np.where(model.is_log, 0.0, 0.7)
    grid = [np.log(p.grid[len(p.grid) // 2]) if p.grid and p.log else None for p in model.parameters]
    theta = np.array([m if g is None else g for m, g in zip(middle, grid, strict=True)])
    return model, data, np.clip(theta + 0.05 * rng.normal(size=theta.size), low, high)


@pytest.mark.parametrize("name", FORMULAS)
def test_slopes_equal_finite_differences(name):
    for seed in range(3):
        model, data, theta = bound(name, seed)
        predicted = model.predict(theta[None], data.columns)
        for i, parameter in enumerate(model.parameters):
            step = np.zeros_like(theta)
            step[i] = 1e-6
            up, down = (model.values((theta + s)[None], data.columns)[0] for s in (step, -step))
            expected = (up - down) / 2e-6
            slope = np.broadcast_to(predicted.slopes[i], (1, data.rows))[0]
            scale = np.abs(expected).max() + 1e-6 * np.abs(up).max()
            assert np.abs(slope - expected).max() <= 1e-5 * scale, parameter.name


@pytest.mark.parametrize("name", FORMULAS)
def test_parameters_marked_linear_are_linear(name):
    model, data, theta = bound(name)
    linear = [i for i, p in enumerate(model.parameters) if p.linear]
    if not linear:
        pytest.skip(f"{name} has no linear parameter")
    values = model.natural(theta)

    def at(scale):
        moved = values.copy()
        moved[linear] *= scale
        return model.values(model.search(moved)[None], data.columns)[0]

    first, second = at(2.0) - at(1.0), at(4.0) - at(3.0)
    assert np.abs(first).max() > 0
    assert second == pytest.approx(first, rel=1e-8)


def test_every_row_is_complete_and_listed():
    rows = {row["name"]: row for row in listing()}
    assert set(rows) == set(FORMS)
    for form in FORMS.values():
        assert form.formula
        assert form.citation
        assert rows[form.name]["inputs"] == [i.role for i in form.inputs]
        for parameter in form.parameters:
            assert parameter.low < parameter.high
            assert parameter.meaning
            assert not parameter.log or parameter.low > 0
            assert parameter.linear or parameter.grid, f"{form.name}.{parameter.name} has no way to start"
