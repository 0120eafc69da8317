"""Gains of exported rows, from parts: against the formula written out, and the choice of the baseline."""

from types import SimpleNamespace

import numpy as np
import pytest

from kbit.coders import CodeLengths
from kbit.information import gain
from kbit.store import Labels, Measurement, Store, Subject, identity

MODEL, BASE, SIZES = (20.0, 50.0, 30.5), (40.0, 81.0, 77.0), (10, 20, 30)


def baseline(
    make: SimpleNamespace,
    bits: tuple[float, ...] = BASE,
    name: str = "kneser-ney-6",
    on: str = "train",
    **changes: object,
) -> Measurement:
    subject = Subject(
        kind="coder", content=make.digest(on), coder=name, algorithm={"coder": 1}, labels=Labels(name=name)
    )
    probe = make.probe(settings={})
    return make.measurement(bits, subject=subject, probe=probe, **changes)


def model_row(store: Store, study: str | None = None, **options: object) -> dict[str, object]:
    return next(row for row in store.rows(study, **options) if row["kind"] == "model")


def test_gain_and_interval_are_those_of_the_parts(store: Store, make: SimpleNamespace) -> None:
    store.put([make.measurement(MODEL), baseline(make), baseline(make, (80.0, 160.0, 240.0), "uniform")])
    row = model_row(store)
    # G = (L_b - L_q) / B, and the standard error of a ratio of means (reference: Cochran 1977, 6.13).
    d, b = np.array(BASE) - np.array(MODEL), np.array(SIZES)
    expected = d.sum() / b.sum()
    error = np.sqrt(3 / 2 * np.sum((d - expected * b) ** 2)) / b.sum()
    assert row["baseline"] == "kneser-ney-6"
    assert row["baseline_bits_per_byte"] == pytest.approx(sum(BASE) / 60)
    assert row["gain"] == pytest.approx(expected)
    assert row["gain_standard_error"] == pytest.approx(error)
    lengths = [
        [
            CodeLengths(document=str(i), bits=x, bytes=n, characters=n, tokens=n)
            for i, (x, n) in enumerate(zip(bits, SIZES, strict=True))
        ]
        for bits in (MODEL, BASE)
    ]
    same = gain(*lengths)
    assert (row["gain_low"], row["gain_high"]) == (same.low, same.high)
    assert model_row(store, baseline="uniform")["gain"] == pytest.approx((480 - sum(MODEL)) / 60)
    coders = [r for r in store.rows() if r["kind"] == "coder"]
    assert [r["gain"] for r in coders] == [None, None]


def test_without_a_baseline_there_is_no_gain(store: Store, make: SimpleNamespace) -> None:
    store.put([make.measurement(MODEL), baseline(make, name="unigram")])
    row = model_row(store)
    assert (row["gain"], row["gain_low"], row["baseline"]) == (None, None, None)


def test_the_baseline_of_the_same_study_counts(store: Store, make: SimpleNamespace) -> None:
    model, ours, others = make.measurement(MODEL), baseline(make), baseline(make, (1.0, 1.0, 1.0), on="other")
    for name, rows in (("ours", [model, ours]), ("others", [others])):
        store.set_planned(name, [(identity(m.subject, m.probe), m.metric) for m in rows])
    store.put([ours])
    store.put([model])
    store.put([others])  # newer, but of another study
    for study in ("ours", None):
        assert model_row(store, study)["baseline_bits_per_byte"] == pytest.approx(sum(BASE) / 60)


def test_a_failed_baseline_gives_no_gain(store: Store, make: SimpleNamespace) -> None:
    failed = baseline(make, numerator=None, denominator=None, parts=(), status="failed", reason="no memory")
    store.put([make.measurement(MODEL), failed])
    assert model_row(store)["gain"] is None
