"""Fits on data whose answer is known, refusals, warnings and the held-out test."""

import json

import numpy as np
import pytest

from kbit.cli.output import plain
from kbit.errors import LawError
from kbit.laws import fit

SIZES = np.geomspace(4e5, 6.4e8, 12)


def curve(size, limit=1.5, a=30.0, alpha=0.3):
    return limit - a * size**-alpha


def ladder(noise=0.0, seed=0, models=9):
    rng = np.random.default_rng(seed)
    offsets = {16: 0.0, 8: 0.002, 4: 0.03, 2: 0.4}
    return [
        {
            "model": f"rung-{i}",
            "parameters": n,
            "format_bits": k,
            "gain": curve(n) - offset + noise * rng.normal(),
        }
        for i, n in enumerate(np.geomspace(5e4, 2.5e7, models))
        for k, offset in offsets.items()
    ]


def test_power_law_recovers_its_parameters_in_both_directions():
    for sign, role in ((1, "loss"), (-1, "gain")):
        response = 1.2 + sign * 25.0 * SIZES**-0.35
        found = fit("power-law", {"stored_bits": SIZES, role: response})
        assert found.direction == ("falling" if sign > 0 else "rising")
        assert found.parameters["limit"] == pytest.approx(1.2, rel=1e-6)
        assert found.parameters["A"] == pytest.approx(25.0, rel=1e-5)
        assert found.parameters["alpha"] == pytest.approx(0.35, rel=1e-6)


def test_offset_for_each_k_is_recovered_and_the_largest_k_is_the_reference():
    found = fit("offset-by-bits", ladder())
    assert set(found.parameters) == {"limit", "A", "alpha", "offset[8]", "offset[4]", "offset[2]"}
    assert found.parameters["offset[4]"] == pytest.approx(0.03, abs=1e-7)
    assert found.parameters["offset[2]"] == pytest.approx(0.4, abs=1e-7)
    value = found.predict({"params": [1e6], "bits": [2]}).value
    assert value[0] == pytest.approx(curve(1e6) - 0.4, abs=1e-7)


def test_the_top_rung_is_held_out_and_its_prediction_is_blind():
    rows = ladder(noise=0.003)
    before = fit("offset-by-bits", rows, resamples=200).held_out
    assert before.models == ("rung-8",)
    assert len(before.rows) == 4
    ratio = (2.5e7 / 5e4) ** (1 / 8)
    assert before.extrapolation == pytest.approx(ratio, rel=1e-9)
    top = next(r for r in rows if r["model"] == "rung-8" and r["format_bits"] == 4)
    top["gain"] += 0.5
    after = fit("offset-by-bits", rows, resamples=200)
    changed = next(r for r in after.held_out.rows if r.inputs["bits"] == 4)
    original = next(r for r in before.rows if r.inputs["bits"] == 4)
    assert changed.predicted == pytest.approx(original.predicted, rel=1e-12)
    assert changed.miss == pytest.approx(original.miss - 0.5, rel=1e-9)
    assert not changed.within
    assert any("held-out test failed" in w for w in after.warnings)


def test_intervals_hold_the_truth_and_shrink_with_the_noise():
    wide = fit("offset-by-bits", ladder(noise=0.02, models=12), resamples=300)
    narrow = fit("offset-by-bits", ladder(noise=0.002, models=12), resamples=300)
    assert "profile likelihood" in narrow.interval
    for name, truth in (("limit", 1.5), ("alpha", 0.3), ("offset[2]", 0.4)):
        low, high = narrow.ci95[name]
        # one draw in twenty misses by right; none misses by far
        assert low - (high - low) / 2 < truth < high + (high - low) / 2
        assert high - low < 0.4 * (wide.ci95[name][1] - wide.ci95[name][0])


def test_below_eight_models_the_interval_is_a_profile_which_equals_theory_for_a_linear_parameter():
    rng = np.random.default_rng(3)
    size = np.geomspace(1e5, 1e8, 7)
    measured = curve(size) + 0.004 * rng.normal(size=7)
    found = fit("power-law", {"stored_bits": size, "gain": measured}, resamples=50)
    assert "profile likelihood" in found.interval
    # independent: profile by hand, alpha on a fine grid, the rest by least squares, F threshold
    from scipy.stats import t as student

    def rss(alpha):
        design = np.stack([np.ones_like(size), -(size**-alpha)], axis=1)
        left = measured - design @ np.linalg.lstsq(design, measured, rcond=None)[0]
        return left @ left

    grid = np.linspace(0.05, 1.0, 20_001)
    sums = np.array([rss(a) for a in grid])
    inside = grid[sums <= sums.min() * (1 + student.ppf(0.975, 4) ** 2 / 4)]
    low, high = found.ci95["alpha"]
    assert low == pytest.approx(inside[0], rel=0.02)
    assert high == pytest.approx(inside[-1], rel=0.02)


def test_measured_standard_errors_are_inverse_variance_weights():
    rng = np.random.default_rng(0)
    error = np.where(np.arange(12) % 3 == 0, 0.2, 0.001)
    measured = curve(SIZES) + error * rng.normal(size=12)
    table = {"stored_bits": SIZES, "gain": measured, "error": error}
    weighted = fit("power-law", table, columns={"standard_error": "error"}, resamples=50)
    from scipy.optimize import curve_fit

    expected, _ = curve_fit(
        lambda s, limit, log_a, alpha: limit - np.exp(log_a) * s**-alpha,
        SIZES, measured, p0=(1.4, 3.0, 0.28), sigma=error, maxfev=20_000, xtol=1e-14, ftol=1e-14,
    )  # fmt: skip
    assert weighted.parameters["limit"] == pytest.approx(expected[0], rel=1e-5)
    assert weighted.parameters["alpha"] == pytest.approx(expected[2], rel=1e-5)


def test_two_largest_can_be_held_out_and_none_is_said():
    assert len(fit("offset-by-bits", ladder(), holdout=2, resamples=50).held_out.models) == 2
    none = fit("offset-by-bits", ladder(), holdout=None, resamples=50)
    assert none.held_out is None
    assert any("nothing was held out" in w for w in none.warnings)


def test_same_seed_same_intervals_and_the_data_hash_follows_the_data():
    rows = ladder(noise=0.01, models=9)
    one, two = (fit("offset-by-bits", rows, resamples=60, seed=5) for _ in range(2))
    assert one.ci95 == two.ci95
    assert one.data_hash == two.data_hash
    rows[0]["gain"] += 1e-9
    assert fit("offset-by-bits", rows, resamples=60, seed=5).data_hash != one.data_hash


def test_json_has_the_keys_others_rely_on():
    answer = json.loads(json.dumps(plain(fit("offset-by-bits", ladder(noise=0.01), resamples=60).to_dict())))
    assert {"law", "parameters", "ci95", "objective", "held_out", "warnings"} <= set(answer)
    assert set(answer["ci95"]) == set(answer["parameters"])
    assert answer["held_out"]["rows"][0].keys() >= {"predicted", "measured", "miss", "prediction95"}


def test_report_in_words_and_html():
    found = fit("offset-by-bits", ladder(noise=0.01), resamples=60)
    words = found.fit_report()
    assert "held out: rung-8" in words
    assert "bounds" not in words or found.diagnostics.bounds_hit
    assert "<table>" in found._repr_html_()


@pytest.mark.parametrize(
    ("law", "table", "message"),
    [
        ("powerlaw", {}, "did you mean 'power-law'"),
        ("power-law", {"stored_bits": [1e5, 1e6, 1e7], "gain": [1, 2, 3]}, "needs at least 4 rows, got 3"),
        ("power-law", {"stored_bits": [1e6] * 5, "gain": [1, 2, 3, 4, 5]}, "only one value"),
        ("power-law", {"stored_bits": [1e6, 2e6, 3e6, 4e6, 9e6], "gain": [1, 2, 3, 4, 5]},
         "less than a decade"),
        ("power-law", {"stored_bits": SIZES, "gain": np.ones(12)}, "response has only one value"),
        ("power-law", {"stored_bits": -SIZES, "gain": curve(SIZES)}, "must be positive"),
        ("power-law", {"size": SIZES, "gain": curve(SIZES)}, "needs stored_bits"),
        ("power-law", {"stored_bits": SIZES, "height": curve(SIZES)}, "which column is the response"),
        ("power-law", {"stored_bits": ["a", "b"], "gain": [1, 2]}, "'a' is no number"),
        ("power-law", {"stored_bits": SIZES, "gain": [1.0]}, "one length"),
        ("power-law", [], "empty"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(law, table, message):
    with pytest.raises(LawError, match=message):
        fit(law, table)


def test_a_narrow_span_can_be_insisted_on_and_is_then_a_warning():
    size = np.geomspace(1e6, 5e6, 8)
    found = fit("power-law", {"stored_bits": size, "gain": curve(size)}, allow_narrow=True, resamples=50)
    assert any("less than a decade" in w for w in found.warnings)


def test_dropped_rows_poor_fits_and_unfixed_parameters_are_told():
    rng = np.random.default_rng(1)
    response = rng.normal(size=12)
    response[3] = np.nan
    found = fit("power-law", {"stored_bits": SIZES, "value": response}, resamples=100)
    text = " ".join(found.warnings)
    assert found.dropped == 1
    assert "1 rows with missing values" in text
    assert "poor fit" in text


def test_a_parameter_at_its_bound_is_told():
    # falls faster than any exponent allowed: alpha ends at its upper bound
    size = np.geomspace(1.0, 100.0, 10)
    response = np.where(size > 1.5, 1.0, 2.0) + 1e-3 * np.arange(10)[::-1]
    found = fit("power-law", {"stored_bits": size, "loss": response}, resamples=50)
    assert "alpha" in found.diagnostics.bounds_hit
    assert any("alpha ended at a bound" in w for w in found.warnings)


def test_interpolation_goes_through_monotone_points_and_pools_others():
    size = np.array([1e5, 1e6, 1e7, 1e8])
    found = fit("interpolation", {"stored_bits": size, "gain": [1.0, 2.0, 3.0, 4.0]}, holdout=None)
    assert found.predict({"stored_bits": size}).value == pytest.approx([1.0, 2.0, 3.0, 4.0])
    assert found.predict({"stored_bits": [1e9]}).value[0] == pytest.approx(4.0)
    assert found.predict({"stored_bits": [1e9]}).extrapolation[0] == pytest.approx(10.0)
    pooled = fit("interpolation", {"stored_bits": size, "gain": [1.0, 3.0, 2.0, 4.0]}, holdout=None)
    assert pooled.predict({"stored_bits": size}).value == pytest.approx([1.0, 2.5, 2.5, 4.0])


def test_an_unknown_level_cannot_be_predicted():
    found = fit("offset-by-bits", ladder(), resamples=50, holdout=None)
    with pytest.raises(LawError, match="bits = 5 was not in the fit"):
        found.predict({"params": [1e6], "bits": [5]})


def test_importing_laws_and_advice_imports_no_torch():
    import subprocess
    import sys

    code = "import kbit.laws, kbit.advise, sys; print('torch' in sys.modules, 'sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
