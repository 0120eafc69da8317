"""Leaving models out: against a fit made without them, and planted outliers."""

import numpy as np
import pytest

from kbit.errors import LawError
from kbit.laws import fit
from kbit.laws.influence import influence, outlying


def table(outliers=()):
    rng = np.random.default_rng(4)
    size = np.geomspace(1e5, 1e9, 20)
    gain = 1.5 - 30 * size**-0.3 + 0.002 * rng.normal(size=20)
    for i in outliers:
        gain[i] += 0.2
    return {"stored_bits": size, "gain": gain}


def test_the_shift_is_that_of_a_fit_without_the_model():
    points = table()
    found = fit("power-law", points, holdout=None, resamples=3)
    for item in influence(found, points)[:3]:
        i = int(item.model.split()[1]) - 1
        rest = {name: np.delete(values, i) for name, values in points.items()}
        again = fit("power-law", rest, holdout=None, resamples=3)
        for name, value in found.parameters.items():
            assert item.shift[name] == pytest.approx(again.parameters[name] - value, rel=1e-4, abs=1e-7)


def test_planted_outliers_are_dropped_first():
    points = table(outliers=(2, 3))
    found = fit("power-law", points, holdout=None, resamples=3)
    dropped = outlying(found, points, count=3)
    assert {model for model, _ in dropped[:2]} == {"row 3", "row 4"}
    assert dropped[1][1] > 0.9 > dropped[2][1]


def test_another_table_or_no_parameters_are_refused():
    points = table()
    found = fit("power-law", points, holdout=None, resamples=3)
    with pytest.raises(LawError, match="not the table"):
        influence(found, table(outliers=(1,)))
    with pytest.raises(LawError, match="no parameters"):
        influence(fit("interpolation", points, holdout=None, resamples=3), points)
    with pytest.raises(LawError, match="cannot be dropped"):
        outlying(found, points, count=18)
