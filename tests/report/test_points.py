import pytest

from kbit.errors import KbitError
from kbit.report.points import models_by_size, read_points


def test_metrics_are_joined(rows, synthetic):
    found = read_points(rows)
    assert len(found.points) == 7 * 6
    (point,) = [p for p in found.points if p.model == "rung-3" and p.format == "nf3:b64"]
    assert point.kl_bits_per_byte == pytest.approx(synthetic.OFFSET[3] * 1.1)
    assert point.top1_agreement == pytest.approx(1 - synthetic.OFFSET[3] / 2)
    assert point.gain == pytest.approx(synthetic.gain_of(210e3 + 2048 * 96, 3))
    assert point.bits_per_byte + point.gain == pytest.approx(synthetic.BASELINES["kneser-ney-6"])


def test_what_is_missing_is_neither_zero_nor_drawn(rows):
    found = read_points(rows)
    assert [p.kl_bits_per_byte for p in found.points if p.format == "bf16"] == [None] * 7
    assert "rung-8" not in models_by_size(found.points)
    assert [(m.model, m.reason) for m in found.missing] == [("rung-8", "weights of lm_head are NaN")]


def test_models_are_in_order_of_size_not_of_name(rows):
    for row in rows:
        row["model"] = row["model"].replace("rung-1", "zebra").replace("rung-7", "ant")
    names = models_by_size(read_points(rows).points)
    assert (names[0], names[-1]) == ("zebra", "ant")


def test_a_metric_of_another_text_is_not_borrowed(rows, synthetic):
    other = [r for r in synthetic.synthetic_rows(text="other") if r["metric"] == "bits_per_byte"]
    found = read_points([*rows, *other])
    assert found.texts == ("held-out", "other")
    assert all(p.kl_bits_per_byte is None for p in found.of_text("other"))
    assert any(p.kl_bits_per_byte is not None for p in found.of_text("held-out"))


def test_a_denominator_of_zero_gives_no_figure(rows):
    for row in rows:
        if row["metric"] == "kl_bits_per_byte":
            row["denominator"] = 0.0
    assert all(p.kl_bits_per_byte is None for p in read_points(rows).points)


def test_nothing_measured_is_an_error(rows):
    with pytest.raises(KbitError, match="nothing to report: none of the 1 rows"):
        read_points([r for r in rows if r["model"] == "rung-8"])
    with pytest.raises(KbitError, match="format_bits"):
        read_points([dict(r, stored_bits=None) for r in rows])
