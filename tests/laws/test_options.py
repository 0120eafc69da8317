"""Fixed parameters, units, mixed rows, saved fits, comparisons, published sets, pictures."""

import json

import numpy as np
import pytest

from kbit.errors import KbitError, LawError
from kbit.laws import fit, from_json, to_json
from kbit.laws.compare import compare
from kbit.laws.files import read_table
from kbit.laws.published import SETS, published
from kbit.laws.table import where

SIZES = np.geomspace(4e5, 6.4e8, 12)


def table(noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    return {"stored_bits": SIZES, "gain": 1.5 - 30 * SIZES**-0.3 + noise * rng.normal(size=12)}


def test_a_fixed_parameter_stays_and_the_others_are_those_of_least_squares():
    points = table()
    found = fit("power-law", points, fixed={"alpha": 0.25}, holdout=None, resamples=60)
    assert found.parameters["alpha"] == pytest.approx(0.25, rel=1e-12)
    assert found.ci95["alpha"] == pytest.approx((0.25, 0.25), rel=1e-12)
    design = np.column_stack([np.ones(12), -(SIZES**-0.25)])
    limit, a = np.linalg.lstsq(design, points["gain"], rcond=None)[0]
    assert found.parameters["limit"] == pytest.approx(limit, rel=1e-7)
    assert found.parameters["A"] == pytest.approx(a, rel=1e-7)
    assert found.diagnostics.bounds_hit == ()
    assert "fixed" in found.fit_report()
    free = fit("power-law", points, holdout=None, resamples=60)
    assert free.objective < found.objective


def test_a_profile_with_a_fixed_parameter_is_that_of_the_smaller_model():
    points = {name: values[:7] for name, values in table().items()}
    found = fit("power-law", points, fixed={"alpha": 0.3}, holdout=None, resamples=20)
    # two linear parameters: the exact t interval of ordinary least squares
    from scipy.stats import t as student

    design = np.column_stack([np.ones(7), -(SIZES[:7] ** -0.3)])
    values, rss = np.linalg.lstsq(design, points["gain"], rcond=None)[:2]
    spread = np.sqrt(rss[0] / 5 * np.linalg.inv(design.T @ design)[0, 0]) * student.ppf(0.975, 5)
    assert found.ci95["limit"] == pytest.approx((values[0] - spread, values[0] + spread), rel=1e-3)


def test_units_are_brought_to_the_laws_own():
    points = table()
    found = fit("power-law", points, holdout=None, resamples=5)
    in_mib = {"stored_bits": SIZES / (8 * 2**20), "gain": points["gain"]}
    scaled = fit("power-law", in_mib, units={"stored_bits": "MiB"}, holdout=None, resamples=5)
    assert scaled.parameters["A"] == pytest.approx(found.parameters["A"], rel=1e-6)
    assert scaled.to_dict()["input_units"] == {"stored_bits": "MiB"}
    with pytest.raises(LawError, match=r"cannot be in 'mib'.*MiB"):
        fit("power-law", in_mib, units={"stored_bits": "mib"})
    with pytest.raises(LawError, match="no input 'tokens'"):
        fit("power-law", in_mib, units={"tokens": "billions"})


def test_mixed_rows_are_refused_unless_the_response_is_per_byte_or_one_insists():
    points = table() | {"tokenizer": ["a"] * 6 + ["b"] * 6}
    fit("power-law", points, holdout=None, resamples=5)  # a gain is per byte
    points["loss"] = 3.0 - points.pop("gain")
    with pytest.raises(LawError, match=r"mix values of 'tokenizer' \(a, b\)"):
        fit("power-law", points)
    found = fit("power-law", points, allow_mixed=True, holdout=None, resamples=5)
    assert any("tokenizer" in w for w in found.warnings)
    points["metric"] = ["x"] * 6 + ["y"] * 6
    points["gain"] = points.pop("loss")
    with pytest.raises(LawError, match="metric"):
        fit("power-law", points)
    assert fit("power-law", where(points, {"metric": "x"}), allow_narrow=True, holdout=None, resamples=5)


def test_where_takes_equal_and_at_least_and_at_most():
    rows = {"k": [2, 3, 4, 8], "x": [1, 2, 3, 4]}
    assert where(rows, {"k>": "4"})["x"].tolist() == [3, 4]
    assert where(rows, {"k<": "3"})["x"].tolist() == [1, 2]
    with pytest.raises(LawError, match="no column"):
        where(rows, {"q>": "4"})


@pytest.mark.parametrize("law", ["power-law", "offset-by-bits", "interpolation"])
def test_a_saved_fit_predicts_the_same_and_knows_where_it_comes_from(law):
    points = table()
    if law == "offset-by-bits":
        gain = np.concatenate([points["gain"], points["gain"] - 0.1])
        points = {"params": np.tile(SIZES, 2), "bits": np.repeat([16, 4], 12), "gain": gain}
        points["model"] = np.tile([f"m{i}" for i in range(12)], 2)
        at = {"params": [1e8, 1e10], "bits": [4, 16]}
    else:
        at = {"stored_bits": [1e8, 1e10]}
    found = fit(law, points, resamples=40, seed=3)
    again = from_json(to_json(found))
    one, two = found.predict(at), again.predict(at)
    assert two.value == pytest.approx(one.value, rel=1e-12)
    assert np.array(two.prediction95) == pytest.approx(np.array(one.prediction95), rel=1e-9)
    assert two.extrapolation == pytest.approx(one.extrapolation)
    assert again.to_dict() == found.to_dict() or law == "interpolation"  # NaN criteria are not equal
    assert (again.data_hash, again.seed, again.version) == (found.data_hash, 3, found.version)


def test_a_saved_fit_of_another_version_or_no_fit_is_refused():
    content = json.loads(to_json(fit("power-law", table(), holdout=None, resamples=5)))
    with pytest.raises(LawError, match="saved by version 0"):
        from_json(json.dumps(content | {"version": "0"}))
    with pytest.raises(LawError, match="has changed"):
        from_json(json.dumps(content | {"formula": "response = 1"}))
    for text in ("{", "[]", '{"a": 1}'):
        with pytest.raises(LawError, match="no saved fit"):
            from_json(text)


def test_laws_are_compared_by_what_they_miss_with_interpolation_among_them():
    rows = compare(
        ["interpolation", "power-law", "broken-power-law"], table(noise=0.002), resamples=60, holdout=2
    )
    by_name = {row.law: row for row in rows}
    misses = [row.held_out_miss for row in rows]
    assert misses == sorted(misses)
    # a straight law beyond the data beats a flat curve
    assert by_name["power-law"].held_out_miss < by_name["interpolation"].held_out_miss
    # three parameters too many cost more than they explain
    assert by_name["power-law"].aicc_above_best == 0.0
    assert by_name["broken-power-law"].aicc_above_best > 3.0
    assert by_name["interpolation"].aicc_above_best is None
    with pytest.raises(LawError, match="at least two"):
        compare(["power-law"], table())


def test_aicc_is_that_of_a_normal_likelihood():
    points = table()
    found = fit("power-law", points, holdout=None, resamples=5)
    k, n = 4, 12  # three parameters and the noise
    rss = float(((found.predict({"stored_bits": SIZES}).value - points["gain"]) ** 2).sum())
    expected = n * np.log(rss / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    assert found.diagnostics.aicc == pytest.approx(expected, rel=1e-9)


def test_published_sets_have_the_rows_and_columns_they_tell_of():
    for item in SETS:
        columns = read_table(item.path)
        assert list(columns) == list(item.columns)
        assert {len(values) for values in columns.values()} == {item.rows}
    with pytest.raises(LawError, match="did you mean"):
        published("qllm-lambada")


def test_over_training_predicts_the_papers_held_out_runs_from_the_data_that_ship():
    rows = where(read_table(published("gadre-over-training").path), {"training_data": "rpj"})
    n, d, loss = (np.array(rows[c], dtype=float) for c in ("params", "tokens", "loss_nats_c4"))
    ratio = np.array(rows["tokens_per_param"], dtype=float)
    fitted = ((ratio == 20) & (n < 1e9)) | ((ratio == 320) & (n < 2e7))
    points = {"params": n[fitted], "tokens": d[fitted], "loss": loss[fitted]}
    found = fit("over-training", points, holdout=None, resamples=3)
    out = ((n > 1e9) & (n < 2e9) & (ratio == 640)) | (n > 5e9)
    misses = 100 * np.abs(found.predict({"params": n[out], "tokens": d[out]}).value / loss[out] - 1)
    assert sorted(misses) == pytest.approx([0.7103, 0.7320], abs=1e-3)


def test_the_picture_shows_curve_residuals_and_influence():
    from kbit.report.law_picture import law_charts, save_law_picture

    points = table()
    points["gain"][4] += 0.3
    found = fit("power-law", points, holdout=None, resamples=20)
    spec = law_charts(found, points)
    curve, residuals, moved = spec["hconcat"]

    def values(chart):
        return spec["datasets"][chart["data"]["name"]] if "name" in chart["data"] else chart["data"]["values"]

    line, marks = values(curve["layer"][1]), values(curve["layer"][2])
    assert len(marks) == 12
    assert all(v["low"] <= v["y"] <= v["high"] for v in line)
    assert np.argmax([v["y"] for v in values(residuals["layer"][1])]) == 4
    assert values(moved)[0]["model"] == "row 5"
    with pytest.raises(KbitError, match=r"\.png or a \.svg"):
        save_law_picture(found, points, out="x.jpg")


def test_a_picture_is_written(tmp_path):
    from kbit.report.law_picture import save_law_picture

    points = table()
    found = fit("interpolation", points, holdout=None, resamples=5)
    out = save_law_picture(found, points, out=tmp_path / "law.svg")
    text = out.read_text()
    assert text.startswith("<svg")
    assert "Residuals" in text
