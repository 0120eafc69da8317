"""What to train with a budget: against closed forms and a search that shares no code."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from kbit.advise.surface import PUBLISHED, Surface, published_surface, surface_of_fit
from kbit.advise.train import advise_training
from kbit.errors import LawError, UsageError
from kbit.laws import FORMS, fit
from kbit.laws.model import Model

KUMAR = {"E": 2.7648, "A": 4299.0, "B": 18060.0, "alpha": 0.4965, "beta": 0.42, "gamma": 2.6745}


def in_bits(**changes):
    """The surface of Kumar et al.'s constants, beta moved off alpha."""
    form = FORMS["effective-parameters"]
    model = Model(form=form, parameters=form.parameters, sign=1.0)
    values = KUMAR | changes
    theta = model.search(np.array([values[n] for n in model.names]))
    return Surface(
        name="kumar", source="a test", model=model, theta=theta, draws=None, ranges={}, response="loss"
    )


@pytest.mark.parametrize("name", list(PUBLISHED))
@pytest.mark.parametrize("flops", [1e19, 5.76e23])
def test_without_inference_the_optimum_is_hoffmanns_closed_form(name, flops):
    # Hoffmann et al. 2022, eq. 4: N = G (C/6)^a, D = (C/6)^b / G, a = beta / (alpha + beta)
    p = PUBLISHED[name].values
    both = p["alpha"] + p["beta"]
    g = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1.0 / both)
    best = advise_training(published_surface(name), flops=flops).best
    assert best.params == pytest.approx(g * (flops / 6) ** (p["beta"] / both), rel=1e-4)
    assert best.tokens == pytest.approx((flops / 6) ** (p["alpha"] / both) / g, rel=1e-4)
    assert best.training_flops == pytest.approx(flops)
    assert best.loss == pytest.approx(
        p["E"] + p["A"] * best.params ** -p["alpha"] + p["B"] * best.tokens ** -p["beta"]
    )


def test_hoffmanns_rounded_constants_call_for_about_40_billion_parameters_at_gophers_budget():
    # Hoffmann et al. 2022, table 3, approach 3: 40.3B parameters at Gopher's 5.76e23
    best = advise_training(published_surface("hoffmann-2022"), flops=5.76e23).best
    assert 30e9 < best.params < 45e9


def test_inference_in_the_budget_makes_the_model_smaller_and_is_the_constrained_optimum():
    p, flops, served = PUBLISHED["besiroglu-2024"].values, 1e21, 1e12
    surface = published_surface("besiroglu-2024")
    best = advise_training(surface, flops=flops, inference_tokens=served).best

    def loss(log_params):
        n = np.exp(log_params)
        d = (flops - 2 * n * served) / (6 * n)
        return p["E"] + p["A"] * n ** -p["alpha"] + p["B"] * d ** -p["beta"]

    end = np.log(flops / (2 * served)) - 1e-6
    other = minimize_scalar(loss, bounds=(np.log(1e6), end), method="bounded", options={"xatol": 1e-10})
    assert best.loss == pytest.approx(other.fun, rel=1e-9)
    assert best.params == pytest.approx(np.exp(other.x), rel=1e-3)
    assert best.params < advise_training(surface, flops=flops).best.params
    assert best.training_flops + best.inference_flops == pytest.approx(flops)
    assert best.inference_flops == pytest.approx(2 * best.params * served)


def test_the_k_of_training_is_the_one_that_a_search_over_k_finds():
    flops = 1e20
    advice = advise_training(in_bits(), flops=flops)

    def least(k):
        def loss(log_params):
            n = np.exp(log_params)
            d = flops * 16 / (6 * k * n)
            counted = n * (1 - np.exp(-k / KUMAR["gamma"]))
            return KUMAR["E"] + KUMAR["A"] * counted ** -KUMAR["alpha"] + KUMAR["B"] * d ** -KUMAR["beta"]

        return minimize_scalar(loss, bounds=(10, 35), method="bounded", options={"xatol": 1e-10}).fun

    losses = {c.bits: c.loss for c in advice.by_bits}
    assert losses == {k: pytest.approx(least(k), rel=1e-8) for k in losses}
    assert advice.best.bits == min(losses, key=losses.get)
    # (1 - e^(-k/gamma)) / k falls with k: where training costs in proportion to k, the least k always wins
    assert advice.best.bits == 2.0
    assert any("least that was tried" in reason for reason in advice.reasons)
    assert "in proportion to k / 16" in " ".join(advice.assumptions)


def test_memory_limits_the_parameters_and_is_said():
    advice = advise_training(in_bits(), flops=1e22, memory_gib=0.5, bits=[8.0])
    assert advice.best.params == pytest.approx(0.5 * 2**30, rel=1e-6)  # a byte a weight
    assert advice.best.limited_by == "memory"
    assert any("would not fit in the memory" in reason for reason in advice.reasons)


def test_draws_give_intervals_that_hold_the_best_and_shares_of_k():
    rng = np.random.default_rng(0)
    size = np.geomspace(1e7, 1e10, 40)
    tokens = size * np.resize([8.0, 30.0, 120.0], 40)
    bits = np.resize([2.0, 3.0, 4.0, 8.0, 16.0], 40)
    loss = 2.0 + 400 * (size * (1 - np.exp(-bits / 2.5))) ** -0.35 + 900 * tokens**-0.33
    rows = {
        "params": size,
        "tokens": tokens,
        "bits": bits,
        "loss": loss * np.exp(0.004 * rng.normal(size=40)),
    }
    found = fit("effective-parameters", rows, holdout=None, resamples=60, starts=8)
    advice = advise_training(surface_of_fit(found), flops=1e20)
    best = advice.best
    assert best.params_ci95[0] < best.params < best.params_ci95[1]
    assert best.tokens_ci95[0] < best.tokens < best.tokens_ci95[1]
    assert best.loss_ci95[0] < best.loss < best.loss_ci95[1]
    assert sum(advice.bits_share.values()) == pytest.approx(1.0)
    assert advice.bits_share[f"{best.bits:g}"] > 0.2
    assert best.extrapolation == 1.0
    assert advise_training(surface_of_fit(found), flops=1e24).best.extrapolation > 3
    assert advice.to_dict()["best"]["bits"] == best.bits
    losses = [c.loss for c in advice.curve]
    assert losses == sorted(losses, reverse=True)  # more compute, less loss


def test_what_cannot_be_asked_is_refused():
    surface = published_surface("besiroglu-2024")
    for options in (
        {"flops": 0.0},
        {"flops": 1e20, "inference_tokens": -1.0},
        {"flops": 1e20, "memory_gib": 0.0},
    ):
        with pytest.raises(UsageError, match="must be"):
            advise_training(surface, **options)
    with pytest.raises(UsageError, match="k must be"):
        advise_training(in_bits(), flops=1e20, bits=[32.0])
    with pytest.raises(LawError, match="trains no model"):
        advise_training(surface, flops=1e3)
    with pytest.raises(LawError, match="less inference"):
        advise_training(surface, flops=1e15, inference_tokens=1e15)
    with pytest.raises(LawError, match="besiroglu-2024"):
        published_surface("besiroglu")


def test_a_law_that_is_no_loss_in_params_and_tokens_is_refused():
    rows = {"stored_bits": np.geomspace(1e6, 1e9, 9), "gain": np.arange(9.0)}
    with pytest.raises(LawError, match="chinchilla"):
        surface_of_fit(fit("power-law", rows, resamples=5))
