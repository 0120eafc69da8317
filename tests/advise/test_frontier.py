"""The frontier on curves whose crossings are known, and on published accuracies."""

from pathlib import Path

import numpy as np
import pytest

from kbit.advise import Point, frontier
from kbit.advise.points import points_from_table
from kbit.errors import LawError, UsageError

PUBLISHED = (
    Path(__file__).resolve().parents[3] / "shared/data/published/kbit/qllm_eval_lambada_weight_only.csv"
)


def line(label, slope, height, *, sizes=(1.0, 10.0, 100.0), half=None):
    return [
        Point(
            family="f", model=f"m{s}", label=label, stored_bits=s, value=(v := height + slope * np.log10(s)),
            ci95=None if half is None else (v - half, v + half),
        )
        for s in sizes
    ]  # fmt: skip


def test_crossover_of_straight_lines_is_exact():
    # 1 + 2x and 2 + x meet at x = 1 (10 bits); the third is below both
    found = frontier([*line("4", 2, 1), *line("8", 1, 2), *line("2", 0, 0)], grid=40).families["f"]
    assert found.wins == {"8": 20, "4": 20}
    (crossover,) = found.crossovers
    assert (crossover.before, crossover.after) == ("8", "4")
    assert crossover.stored_bits == pytest.approx(10.0)


def test_lower_can_be_better():
    points = [*line("4", 2, 1), *line("8", 1, 2), *line("2", 0, 0)]
    assert frontier(points, higher_is_better=False).total["wins"] == {"2": 41}


def test_only_where_enough_curves_overlap_and_nothing_is_extrapolated():
    points = [
        *line("4", 1, 0, sizes=(1.0, 1e4)),
        *line("8", 1, 1, sizes=(1.0, 1e2)),
        *line("2", 0, 0, sizes=(1.0, 1e4)),
    ]
    found = frontier(points, grid=41).families["f"]
    assert found.comparisons == 21
    assert max(p.stored_bits for p in found.points) == pytest.approx(1e2)
    alone = frontier(line("4", 1, 0)).families["f"]
    assert alone.comparisons == 0
    assert "curves overlap" in alone.note


def test_ties_follow_the_intervals():
    def ties(half):
        points = [*line("4", 1, 1, half=half), *line("8", 1, 0, half=half), *line("2", 1, -9, half=half)]
        return frontier(points).total["ties"]

    assert ties(0.4) == 0
    assert ties(0.6) == 41
    unknown = frontier([*line("4", 1, 1), *line("8", 1, 0), *line("2", 0, 0)]).families["f"]
    assert {p.tie for p in unknown.points} == {None}


def test_total_is_the_sum_of_families():
    points = [*line("4", 2, 1), *line("8", 1, 2), *line("2", 0, 0)]
    other = [
        Point(family="g", model=p.model, label=p.label, stored_bits=p.stored_bits, value=-p.value)
        for p in points
    ]
    found = frontier([*points, *other])
    assert found.total["comparisons"] == sum(f.comparisons for f in found.families.values()) == 82
    assert sum(found.total["wins"].values()) == 82


def test_effective_bits_count_a_scale_and_a_zero_point_for_each_block():
    rows = [
        {"family": "f", "params": 1000, "bits": 4, "group_size": 128, "value": 1.0},
        {"family": "f", "params": 1000, "bits": 16, "group_size": "", "value": 1.0},
    ]
    sizes = [p.stored_bits for p in points_from_table(rows).points]
    assert sizes == pytest.approx([1000 * (4 + 20 / 128), 16_000])


def test_refusals():
    with pytest.raises(LawError, match="no points"):
        frontier([])
    with pytest.raises(UsageError, match="at least 2"):
        frontier(line("4", 1, 0), grid=1)
    with pytest.raises(LawError, match="which column is bits"):
        points_from_table([{"params": 1, "value": 1}])
    with pytest.raises(LawError, match="did you mean 'family'"):
        points_from_table([{"params": 1, "value": 1}], columns={"famly": "params"})


@pytest.mark.shared
@pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"{PUBLISHED.name} is not beside this repository")
def test_published_lambada_accuracies_give_124_of_135_to_4_bits():
    from kbit.laws.files import read_table
    from kbit.laws.table import where

    columns = where(read_table(PUBLISHED), {"metric": "acc_pct"})
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    roles = {"family": "family", "params": "params_b_nominal", "bits": "w_bits", "value": "value"}
    points = points_from_table(rows, columns=roles)
    found = frontier(points.points, higher_is_better=points.higher_is_better)
    assert (found.total["comparisons"], found.total["wins"]["4"]) == (135, 124)
    wins = {name: f.wins for name, f in found.families.items() if f.comparisons}
    assert wins == {
        "OPT": {"4": 23, "8": 7}, "Falcon": {"4": 24}, "LlaMA2": {"4": 18, "8": 3},
        "Bloom": {"4": 29, "3": 1}, "Bloomz": {"4": 30},
    }  # fmt: skip
    (exception,) = [p.stored_bits for p in found.families["Bloom"].points if p.best == "3"]
    assert exception / (3 + 19 / 128) == pytest.approx(175, rel=0.2)
