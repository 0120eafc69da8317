"""Generated text on the page: points joined over seeds, laws of responses, charts and words."""

import importlib.util
import json
import math
from pathlib import Path

import pytest

from kbit.report import write_report
from kbit.report.generated_points import generated_laws, generated_points, plainest
from kbit.report.generated_section import plane_chart, response_chart


@pytest.fixture(scope="module")
def plain_rows() -> list[dict]:
    spec = importlib.util.spec_from_file_location(
        "report_synthetic_g", Path(__file__).parent / "synthetic.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.synthetic_rows()


def law(stored: float, k: float) -> float:
    """A gap that falls with size as a power law with a floor."""
    return 0.05 + (1.0 + (16 - k) / 40) * (stored / 1e6) ** -0.5


def generated(rows: list[dict]) -> list[dict]:
    """Rows of generated text for every model and format: three temperatures, two seeds."""
    # Wider apart than the plain rows: a law asks for a decade of sizes at each k.
    models = {
        (r["model"], r["format"]): {**r, "stored_bits": int(r["stored_bits"] ** 1.4 / 400)}
        for r in rows
        if r.get("stored_bits")
    }
    made = []
    for row in models.values():
        for temperature in (0.0, 0.7, 1.0):
            for seed in (0, 1) if temperature else (0,):
                gap = law(row["stored_bits"], row["format_bits"]) * temperature
                gap += (temperature - 1) + 0.01 * (seed - 0.5)
                figures = {
                    "gap": gap,
                    "human_cross_entropy": 1.5,
                    "generated_cross_entropy": 1.5 + gap,
                    "decoding_entropy": temperature * 1.4,
                    "implausibility": 0.3,
                    "entropy_reduction_random": 2.0 - gap,
                }
                for metric, value in figures.items():
                    made.append(
                        {**row, "metric": metric, "numerator": value * 10, "denominator": 10, "value": value,
                         "value_standard_error": 0.02, "text": "prompts", "temperature": temperature,
                         "top_k": None, "top_p": None, "seed": seed, "scorer": "s", "gain": None,
                         "baseline": None, "status": "ok", "reason": None}
                    )  # fmt: skip
    return made


def test_seeds_are_joined_and_missing_metrics_left_out(plain_rows):
    rows = generated(plain_rows)
    points = generated_points(rows)
    models = {(r["model"], r["format"]) for r in rows}
    assert len(points) == 3 * len(models)
    assert {p.seeds for p in points if p.temperature} == {2}
    one = next(p for p in points if p.temperature == 1)
    assert one.figures["gap"].value == pytest.approx(law(one.stored_bits, one.k))
    # Two seeds of the same prompts are not surer of other prompts.
    assert one.figures["gap"].high - one.figures["gap"].value == pytest.approx(1.96 * 0.02)
    assert plainest(points) == "temperature 1"
    lacking = [r for r in rows if not (r["metric"] == "gap" and r["temperature"] == 1)]
    assert {p.temperature for p in generated_points(lacking)} == {0.0, 0.7}
    failed = [{**r, "status": "failed"} for r in rows]
    assert generated_points([*plain_rows, *failed]) == []


def test_a_law_of_the_gap_is_found_and_tested(plain_rows):
    points = generated_points(generated(plain_rows))
    fits, notes = generated_laws(points)
    assert notes == []
    fitted = fits["gap of generated text, k = 16"]
    assert fitted.held_out is not None
    row = fitted.held_out.rows[0]
    assert row.predicted == pytest.approx(law(row.inputs["stored_bits"], 16), rel=0.02)
    few = [p for p in points if p.model in ("rung-1", "rung-2")]
    nothing, why = generated_laws(few)
    assert not nothing
    assert all("was not fitted" in note for note in why)
    assert generated_laws([]) == ({}, [])


def test_charts_hold_every_point(plain_rows):
    points = generated_points(generated(plain_rows))
    ks = sorted({p.k for p in points})
    plane = json.dumps(plane_chart(points, ks=ks))
    assert all(math.isfinite(p.figures["gap"].value) for p in points)
    assert plane.count('"decoding": "greedy"') == sum(p.temperature == 0 for p in points)
    assert "human text" in plane
    fits, _ = generated_laws(points)
    gap = response_chart(points, "gap", fits, ks=ks)
    marks = json.dumps(gap)
    assert marks.count('"model"') >= sum(p.temperature == 1 for p in points)
    assert "strokeDash" in marks
    assert response_chart(points, "entropy_reduction_random", {}, ks=ks) is not None


def test_the_page_has_the_section_only_where_there_is_generated_text(plain_rows, tmp_path):
    rows = [*plain_rows, *generated(plain_rows)]
    page = write_report(rows, {}, None, out=tmp_path / "g.html", title="t").read_text()
    assert 'id="generated"' in page
    assert "Power law of the gap of generated text, k = 16: predicts" in page
    assert "The target of the gap is 0" in page
    without = write_report(plain_rows, {}, None, out=tmp_path / "p.html", title="t").read_text()
    assert 'id="generated"' not in without
