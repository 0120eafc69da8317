"""The best k of a fitted law, and what a bit is worth, against algebra."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from kbit.advise import Point
from kbit.advise.best_k import best_k
from kbit.advise.worth import worth_of_bits
from kbit.errors import LawError, UsageError
from kbit.laws import fit

GAMMA, ALPHA = 2.0, 0.4


def trained_in_bits(noise=0.0):
    rng = np.random.default_rng(1)
    size = np.repeat(np.geomspace(1e6, 1e10, 12), 5)
    bits = np.tile([1.0, 2.0, 4.0, 8.0, 16.0], 12)
    tokens = size * np.resize([10.0, 60.0, 300.0], size.size)
    loss = 1.8 + 300 * (size * (1 - np.exp(-bits / GAMMA))) ** -ALPHA + 800 * tokens**-0.35
    loss = loss * np.exp(noise * rng.normal(size=size.size))
    return {"params": size, "tokens": tokens, "bits": bits, "loss": loss}


def test_effective_parameters_have_the_k_that_algebra_gives_at_every_size():
    # Kumar et al. 2024: at equal stored bits S the best k maximises (1 - e^(-k/gamma)) / (k + 16/block)
    found = fit("effective-parameters", trained_in_bits(1e-4), holdout=None, resamples=40, starts=8)
    answer = best_k(found, block=64)
    best = minimize_scalar(
        lambda k: -(1 - np.exp(-k / GAMMA)) / (k + 0.25), bounds=(0.5, 16), method="bounded"
    ).x
    assert best == pytest.approx(0.88, abs=0.1)  # below one bit: the least that is tried is best
    assert all(at.k == 1.0 and at.at_bound for at in answer.sizes)
    wide = best_k(found, block=8)  # dear scales make few bits a bad bargain
    inner = minimize_scalar(
        lambda k: -(1 - np.exp(-k / GAMMA)) / (k + 2.0), bounds=(0.5, 16), method="bounded"
    ).x
    assert all(at.k == pytest.approx(inner, abs=0.06) and not at.at_bound for at in wide.sizes)
    assert all(at.ci95[0] <= at.k <= at.ci95[1] for at in wide.sizes)
    assert wide.moves is False
    assert "held at" in " ".join(wide.assumptions)


def test_an_offset_that_weighs_more_on_large_models_moves_k():
    # gain = 3 - 20 N^-0.3 - offset[k]: the offset stays, what size gives shrinks, so k* rises
    size = np.repeat(np.geomspace(1e5, 1e9, 9), 3)
    bits = np.tile([2.0, 4.0, 8.0], 9)
    lost = np.select([bits == 8, bits == 4], [0.0, 0.05], 0.4)
    gain = 3.0 - 20.0 * size**-0.3 - lost + 1e-4 * np.random.default_rng(0).normal(size=27)
    table = {"params": size, "bits": bits, "gain": gain, "model": np.repeat(np.arange(9), 3)}
    found = fit("offset-by-bits", table, resamples=100, starts=8)
    sizes = [1e7, 1e12]
    answer = best_k(found, sizes=sizes, block=64)
    ks = np.array([2.0, 4.0, 8.0])

    def best(stored):
        n = stored / (ks + 0.25)
        return ks[np.argmax(3.0 - 20.0 * n**-0.3 - np.array([0.4, 0.05, 0.0]))]

    assert [at.k for at in answer.sizes] == [best(s) for s in sizes] == [4.0, 8.0]
    assert answer.moves is True
    assert "moves with size" in " ".join(answer.reasons)
    assert answer.sizes[0].shares["4"] > 0.95
    assert answer.sizes[1].extrapolation == pytest.approx(1e12 / 8.25 / 1e9)
    assert answer.to_dict()["change"] == 4.0


def test_laws_without_a_best_k_are_refused():
    rows = {"stored_bits": np.geomspace(1e6, 1e9, 9), "gain": np.arange(9.0)}
    with pytest.raises(LawError, match="offset-by-bits"):
        best_k(fit("power-law", rows, resamples=5))
    found = fit("effective-parameters", trained_in_bits(), holdout=None, resamples=5, starts=4)
    with pytest.raises(UsageError, match="positive"):
        best_k(found, sizes=[0.0])
    with pytest.raises(UsageError, match="at least 1 weight"):
        best_k(found, block=0)


def points(k, worth, *, half=None):
    """value = log10(params) + log10(worth) · k: k bits replace worth^k times the parameters."""
    made = []
    for params in np.geomspace(1e6, 1e9, 7):
        value = float(np.log10(params) + np.log10(worth) * k)
        made.append(
            Point(
                family="f",
                model=f"{params:g}",
                label=str(k),
                stored_bits=params * (k + 0.25),
                value=value,
                ci95=None if half is None else (value - half, value + half),
                params=params,
            )
        )
    return made


def test_a_bit_replaces_the_parameters_that_the_curves_say():
    (found,) = worth_of_bits([*points(4, 1.3), *points(8, 1.3)])
    assert (found.fewer, found.more) == ("4", "8")
    assert found.factor == pytest.approx(1.3)
    assert (found.low, found.high) == (pytest.approx(1.3), pytest.approx(1.3))
    assert found.cost == pytest.approx((8.25 / 4.25) ** 0.25)
    assert found.pays is True
    assert found.ci95 is None
    (dear,) = worth_of_bits([*points(4, 1.1), *points(8, 1.1)])
    assert dear.pays is False


def test_intervals_make_the_worth_unsure_where_the_cost_lies_inside():
    (found,) = worth_of_bits([*points(4, 1.3, half=0.2), *points(8, 1.3, half=0.2)])
    # both curves move by half, together 0.4 in log10 of the parameters, over four bits
    assert found.ci95 == pytest.approx((1.3 / 10**0.1, 1.3 * 10**0.1), rel=1e-6)
    assert found.pays is None
    assert worth_of_bits(points(4, 1.3)[:1] + points(8, 1.3)) == ()
