"""Gain and its interval against known answers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbit.coders import CodeLengths, NgramCoder, UniformCoder, UnigramCoder
from kbit.corpus import Document
from kbit.errors import CoderError, CorpusError, UsageError
from kbit.information import (
    bits_per_byte,
    bits_per_character,
    break_even_bytes,
    gain,
    paired_bootstrap,
)


def lengths(bits, bytes_, names=None):
    return [
        CodeLengths(
            document=names[i] if names else str(i), bits=float(x), bytes=int(b), characters=1, tokens=1
        )
        for i, (x, b) in enumerate(zip(bits, bytes_, strict=True))
    ]


def test_ratio_of_sums_not_mean_of_ratios():
    assert bits_per_byte(lengths([10, 90], [10, 10])).value == 5
    assert bits_per_byte(lengths([80, 90], [10, 90])).value == pytest.approx(1.7)
    assert bits_per_character(lengths([80, 90], [10, 90])).value == 85


def test_standard_error_by_hand():
    # R = 12/6 = 2; d - R B = (-1, 1, 0); sqrt(3/2 · 2) / 6.
    estimate = paired_bootstrap([1, 5, 6], [1, 2, 3])
    assert estimate.value == 2
    assert estimate.standard_error == pytest.approx(math.sqrt(3) / 6)


def test_standard_error_with_equal_sizes_is_that_of_a_mean():
    d = np.random.default_rng(1).normal(size=50)
    estimate = paired_bootstrap(d, np.ones(50))
    assert estimate.value == pytest.approx(d.mean())
    assert estimate.standard_error == pytest.approx(d.std(ddof=1) / math.sqrt(50))


def test_bootstrap_of_two_documents_is_exact():
    # Four equally likely resamples: R = 0 (1/4), 1/2 (1/2), 1 (1/4). So the 95% ends are 0 and 1.
    estimate = paired_bootstrap([0, 1], [1, 1], resamples=4000)
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0, 1)


def test_interval_agrees_with_the_normal_one_for_many_documents():
    rng = np.random.default_rng(2)
    size = rng.integers(50, 1000, 400)
    d = 0.3 * size + rng.normal(size=400) * np.sqrt(size)
    estimate = paired_bootstrap(d, size, resamples=4000)
    low, high = (estimate.value + s * 1.96 * estimate.standard_error for s in (-1, 1))
    assert estimate.low == pytest.approx(low, abs=0.1 * (high - low))
    assert estimate.high == pytest.approx(high, abs=0.1 * (high - low))


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    hits = 0
    for trial in range(400):
        size = rng.integers(100, 2000, 60)
        d = 0.25 * size + rng.normal(size=60) * 0.2 * size
        estimate = paired_bootstrap(d, size, seed=trial, resamples=400)
        hits += estimate.low <= 0.25 <= estimate.high
    assert 0.90 <= hits / 400 <= 0.985


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(4)
    hard = rng.normal(2000, 500, 40)  # documents differ much more than the two coders do
    model, baseline = lengths(hard, [1000] * 40), lengths(hard + rng.normal(300, 10, 40), [1000] * 40)
    paired = gain(model, baseline)
    assert paired.value == pytest.approx(0.3, abs=0.01)
    assert paired.high - paired.low < 0.1 * (bits_per_byte(model).high - bits_per_byte(model).low)


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4), st.integers(0, 5000)), min_size=2, max_size=20)
)
def test_gain_is_antisymmetric_and_inside_its_interval(rows):
    a, b = (
        lengths([r[0] for r in rows], [r[2] + 1 for r in rows]),
        lengths([r[1] for r in rows], [r[2] + 1 for r in rows]),
    )
    forward, back = gain(a, b, resamples=200), gain(b, a, resamples=200)
    assert forward.value == pytest.approx(-back.value)
    assert forward.low <= forward.high
    assert forward.low == pytest.approx(-back.high, abs=1e-9)


def test_gains_add_up_along_the_ladder():
    text = [Document(name=str(i), text=f"the {i} documents of this text " * 9) for i in range(5)]
    coders = [
        UniformCoder(),
        UnigramCoder(),
        NgramCoder.fit([Document(name="b", text="the text of this " * 50)]),
    ]
    ladder = [list(c.code_lengths(text)) for c in coders]
    steps = [gain(ladder[i + 1], ladder[i]).value for i in range(2)]
    assert min(steps) > 0
    assert sum(steps) == pytest.approx(gain(ladder[2], ladder[0]).value)
    assert 8 - gain(ladder[2], ladder[0]).value == pytest.approx(bits_per_byte(ladder[2]).value)


def test_seed_decides_the_interval():
    d, b = np.arange(30.0), np.arange(1, 31)
    assert paired_bootstrap(d, b, seed=5) == paired_bootstrap(d, b, seed=5)
    assert paired_bootstrap(d, b, seed=5) != paired_bootstrap(d, b, seed=6)


def test_many_documents_in_bounded_draws(monkeypatch):
    monkeypatch.setattr("kbit.information.estimate.DRAWS_AT_ONCE", 64)
    estimate = paired_bootstrap(np.arange(100.0), np.ones(100), resamples=50)
    assert estimate.low < estimate.value < estimate.high


def test_one_document_has_no_interval():
    estimate = gain(lengths([10], [10]), lengths([20], [10]))
    assert estimate.value == 1
    assert estimate.ci95 is None
    assert estimate.standard_error is None
    assert "one document" in estimate.reason
    # An empty document beside it is nothing to resample either.
    assert gain(lengths([10, 0], [10, 0]), lengths([20, 0], [10, 0])).ci95 is None


def test_empty_documents_change_nothing():
    with_empty = paired_bootstrap([1, 0, 3, 0], [2, 0, 5, 0])
    assert with_empty == paired_bootstrap([1, 3], [2, 5])


@pytest.mark.parametrize("rows", [[], [0.0]])
def test_empty_text(rows):
    with pytest.raises(CorpusError, match="empty"):
        bits_per_byte(lengths(rows, [0] * len(rows)))


def test_different_documents():
    one = lengths([1, 2], [3, 4])
    with pytest.raises(CoderError, match="of 2 and of 1"):
        gain(one, one[:1])
    with pytest.raises(CoderError, match="document 1"):
        gain(one, lengths([1, 2], [3, 5]))
    with pytest.raises(CoderError, match="document 0"):
        gain(one, lengths([1, 2], [3, 4], names="ab"))


def test_wrong_calls():
    with pytest.raises(UsageError):
        paired_bootstrap([1], [1, 2])
    with pytest.raises(UsageError):
        paired_bootstrap([1, 2], [1, 2], resamples=0)


def test_break_even():
    assert break_even_bytes(1000, 0.5) == 2000
    assert break_even_bytes(1000, 0.0) is None
    assert break_even_bytes(1000, -1.0) is None
