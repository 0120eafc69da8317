"""Entropy estimators against reference vectors and exact expectations."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from kbit.errors import UsageError
from kbit.information.entropy_of_counts import (
    ESTIMATORS,
    chao_shen,
    entropy,
    grassberger,
    james_stein_share,
    miller_madow,
    nsb_moments,
    plug_in,
)

COUNTS = np.array([4, 12, 4, 5, 3, 1, 5, 1, 2, 2, 2, 2, 11, 3, 4, 12, 12, 1, 2], dtype=float)


@pytest.mark.parametrize(
    ("name", "support", "nats", "tolerance"),
    [
        ("plug-in", None, 2.635444, 1e-6),
        ("miller-madow", None, 2.737717, 1e-6),
        ("grassberger", None, 2.733853, 1e-6),
        ("chao-shen", None, 2.761664, 1e-6),
        ("james-stein", 19, 2.786418, 1e-6),
        ("nsb", 100, 2.8060922529931225, 1e-5),  # as published
        ("nsb", 100, 2.8060969160543, 1e-12),  # by adaptive quadrature over xi, for this test
    ],
)
def test_reference_vector(name, support, nats, tolerance):
    assert entropy(COUNTS, name, support=support).bits * math.log(2) == pytest.approx(nats, rel=tolerance)


def test_james_stein_share():
    assert james_stein_share(COUNTS, 19) == pytest.approx(0.284991, abs=1e-6)


@pytest.mark.parametrize(("counts", "bits"), [([2, 1], 0.84967), ([3, 1], 0.81292)])
def test_nsb_of_two(counts, bits):
    assert entropy(counts, "nsb", support=2).bits == pytest.approx(bits, abs=1e-5)


def expected_nats(nats, draws, support):
    """E of an estimator that is a sum over things, for a uniform source: counts are binomial."""
    n = np.arange(draws + 1)
    weight = support * binom.pmf(n, draws, 1 / support)
    # ln N - sum g(n)/N, so g(n)/N is what one thing takes away, seen with the other draws elsewhere.
    takes = [0.0] + [math.log(draws) - one(nats, k, draws) for k in n[1:]]
    return math.log(draws) - weight @ takes


def one(nats, k, draws):
    """The estimator's value less what the other draws take from it."""
    if k == draws:
        return nats(np.array([float(k)]))
    rest = nats(np.array([float(draws - k)])) - math.log(draws - k)  # minus g(rest)/rest
    return nats(np.array([float(k), float(draws - k)])) - rest * (draws - k) / draws


@pytest.mark.parametrize(
    ("nats", "support", "bias_bits"),
    [
        (plug_in, 256, {256: -0.825, 1024: -0.191, 4096: -0.045}),
        (grassberger, 256, {256: -0.067, 1024: 0.001, 4096: 0.0002}),
        (plug_in, 2, {16: -0.047}),
        (grassberger, 2, {16: 0.046}),
    ],
)
def test_exact_bias_on_a_uniform_source(nats, support, bias_bits):
    for draws, bias in bias_bits.items():
        found = (expected_nats(nats, draws, support) - math.log(support)) / math.log(2)
        assert found == pytest.approx(bias, abs=6e-4 if abs(bias) > 5e-4 else 6e-5)


@pytest.mark.parametrize(
    ("support", "draws", "bias"), [(256, 256, -0.371), (256, 1024, -0.015), (2, 16, -0.002)]
)
def test_exact_bias_of_miller_madow(support, draws, bias):
    seen = support * (1 - (1 - 1 / support) ** draws)
    nats = expected_nats(plug_in, draws, support) + (seen - 1) / (2 * draws)
    assert (nats - math.log(support)) / math.log(2) == pytest.approx(bias, abs=6e-4)
    assert miller_madow(COUNTS) == pytest.approx(plug_in(COUNTS) + 18 / (2 * COUNTS.sum()))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=2, max_size=30).filter(any), st.sampled_from(list(ESTIMATORS)))
@example([0, 26], "plug-in")
@example([0, 2], "grassberger")  # its correction overshoots
def test_properties(counts, name):
    support = len(counts)
    found = entropy(counts, name, support=support)
    assert found.low <= found.bits <= found.high
    assert found.bits >= 0
    assert entropy(counts[::-1], name, support=support).bits == pytest.approx(found.bits, abs=1e-9)
    if name in ("plug-in", "james-stein", "nsb"):
        assert found.bits <= math.log2(support) + 1e-9


def test_all_agree_on_a_large_sample():
    counts = np.random.default_rng(0).multinomial(1_000_000, [0.5, 0.25, 0.125, 0.125])
    for name in ESTIMATORS:
        found = entropy(counts, name, support=4)
        assert found.bits == pytest.approx(1.75, abs=0.005)
        assert found.low < 1.75 < found.high
        assert found.warning is None


def test_standard_error_against_many_draws():
    rng = np.random.default_rng(1)
    p = [0.4, 0.3, 0.2, 0.05, 0.05]
    draws = [entropy(rng.multinomial(500, p), "miller-madow") for _ in range(600)]
    spread = np.std([d.bits for d in draws])
    assert np.mean([d.standard_error for d in draws]) == pytest.approx(spread, rel=0.1)
    truth = -sum(x * math.log2(x) for x in p)
    assert 0.91 < np.mean([d.low < truth < d.high for d in draws]) < 0.98


def test_nsb_moments_against_dirichlet_samples():
    """Posterior moments by sampling: a concentration by its weight, a distribution from that Dirichlet."""
    counts, support = np.array([5.0, 2.0, 1.0]), 6
    rng = np.random.default_rng(2)
    from scipy.special import digamma, gammaln

    xi = rng.uniform(0, math.log(support), 4000)  # the prior, uniform in xi
    low, high = np.full(4000, -40.0), np.full(4000, 40.0)
    for _ in range(80):  # the concentration of each xi, by bisection
        middle = (low + high) / 2
        below = digamma(support * np.exp(middle) + 1) - digamma(np.exp(middle) + 1) < xi
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    beta = np.exp(low)
    log_weight = gammaln(support * beta) - gammaln(8 + support * beta)
    log_weight += (gammaln(counts + beta[:, None]) - gammaln(beta[:, None])).sum(1)
    weight = np.exp(log_weight - log_weight.max())
    chosen = rng.choice(4000, size=60_000, p=weight / weight.sum())
    full = np.append(counts, np.zeros(3))
    gammas = rng.standard_gamma(full + beta[chosen][:, None])
    p = gammas / gammas.sum(1, keepdims=True)
    sampled = -np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0), axis=1)
    mean, variance = nsb_moments(counts, support)
    assert mean == pytest.approx(sampled.mean(), abs=0.02)
    assert variance == pytest.approx(sampled.var(), rel=0.06)


def test_few_draws_are_warned_of():
    assert "only one of their kind" in entropy([1] * 50 + [2]).warning
    assert "few" in entropy([2] * 30).warning
    assert math.isfinite(chao_shen(np.ones(10)))
    assert entropy([1], "chao-shen").bits == pytest.approx(0)


@pytest.mark.parametrize(
    ("counts", "name", "support", "message"),
    [
        ([1, 2], "grasberger", None, "grassberger"),
        ([], "plug-in", None, "nothing was drawn"),
        ([0, 0], "plug-in", None, "nothing was drawn"),
        ([1, -1], "plug-in", None, "none negative"),
        ([1.5], "plug-in", None, "whole"),
        ([1, 2], "nsb", None, "support="),
        ([1, 2, 3], "james-stein", 2, "3 different"),
    ],
)
def test_errors(counts, name, support, message):
    with pytest.raises(UsageError, match=message):
        entropy(counts, name, support=support)
