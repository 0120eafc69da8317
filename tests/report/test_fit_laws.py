import pytest

from kbit.report import fit_laws
from kbit.report.points import read_points
from kbit.report.trend import trends_of


@pytest.fixture(scope="module")
def laws(synthetic):
    return fit_laws(synthetic.synthetic_rows())


def test_the_law_the_rows_follow_is_found_and_predicts_the_largest(laws, synthetic):
    fit = laws.fits["offset-by-bits, all k"]
    assert fit.parameters["limit"] == pytest.approx(synthetic.LIMIT, rel=1e-4)
    assert fit.parameters["A"] == pytest.approx(synthetic.SCALE, rel=1e-3)
    assert fit.parameters["alpha"] == pytest.approx(synthetic.EXPONENT, rel=1e-3)
    for k in (8, 6, 4, 3, 2):
        assert fit.parameters[f"offset[{k}]"] == pytest.approx(synthetic.OFFSET[k], abs=1e-5)
    assert fit.held_out.models == ("rung-7",)
    assert fit.held_out.mean_absolute_miss < 1e-4


def test_a_law_that_is_refused_says_why(laws):
    assert any(note.startswith("power-law, k = 4, was not fitted: stored_bits") for note in laws.notes)
    assert "power-law, k = 4" not in laws.fits


def test_trends_pass_through_what_the_law_describes(laws, rows):
    points = read_points(rows).points
    trends = {t.k: t for t in trends_of(laws.fits, points)}
    assert sorted(trends) == [2, 3, 4, 6, 8, 16]
    ends = sorted((p for p in points if p.k == 4), key=lambda p: p.stored_bits)
    assert trends[4].stored_bits[0] == pytest.approx(ends[0].stored_bits)
    assert trends[4].stored_bits[-1] == pytest.approx(ends[-1].stored_bits)
    assert trends[4].gain[-1] == pytest.approx(ends[-1].gain, abs=1e-4)
    (mark,) = trends[4].held_out
    assert mark[0] == "rung-7"
    assert mark[2] == pytest.approx(ends[-1].gain, abs=1e-3)


def test_rows_without_gains_give_notes_not_fits(rows):
    laws = fit_laws([dict(r, gain=None) for r in rows])
    assert not laws.fits
    assert laws.notes == ("offset-by-bits, all k, was not fitted: no model has a gain.",)
