"""Advice over rows: what fits, its order, ties, reasons, and what is left out."""

import pytest

from kbit.advise import advise
from kbit.errors import LawError, UsageError

FACTS = {
    "layers": 2, "kv_heads": 2, "head_dim": 16, "hidden_size": 64, "intermediate_size": 128,
    "vocab_size": 512, "max_context": 1024,
}  # fmt: skip
MIB = 2**20


def row(model, k, gain, mib, *, half=0.01, parameters=1_000_000, **more):
    return {
        "model": model, "format": f"nf{k}:b64", "format_bits": k, "method": "nearest", "status": "ok",
        "gain": gain, "gain_low": gain - half, "gain_high": gain + half, "stored_bits": 8 * mib * MIB,
        "parameters": parameters, "text": "held-out", "baseline": "kneser-ney-6", **FACTS, **more,
    }  # fmt: skip


ROWS = [
    row("small", 8, 0.50, 1.0, parameters=10),
    row("small", 4, 0.48, 0.5, parameters=10),
    row("large", 4, 0.90, 2.0, parameters=100),
    row("large", 8, 0.905, 4.0, parameters=100),
    row("huge", 2, 0.60, 3.0, parameters=1000),
    {"model": "small", "format": "bf16", "status": "failed", "gain": None},
]


def names(advice):
    return [(c.model, c.format) for c in advice.choices]


def test_choices_are_those_that_fit_ranked_by_gain():
    advice = advise(ROWS, memory_gib=3.5 / 1024, context=100)
    assert names(advice) == [
        ("large", "nf4:b64"),
        ("huge", "nf2:b64"),
        ("small", "nf8:b64"),
        ("small", "nf4:b64"),
    ]
    assert [c.rank for c in advice.choices] == [1, 2, 3, 4]
    assert {(o.model, o.format) for o in advice.left_out} == {("large", "nf8:b64")}
    assert "more than there is" in advice.left_out[0].reason


def test_memory_is_the_sum_of_its_items_and_the_boundary_is_exact():
    choice = advise(ROWS, memory_gib=1.0, context=100).choices[0]
    assert choice.memory_gib * 2**30 == pytest.approx(
        choice.weights_bytes + choice.kv_bytes + choice.working_bytes
    )
    assert choice.kv_bytes == 100 * choice.kv_bytes_per_token
    need = next(c for c in advise(ROWS, memory_gib=1.0, context=100).choices if c.model == "huge").memory_gib
    assert ("huge", "nf2:b64") in names(advise(ROWS, memory_gib=need, context=100))
    assert ("huge", "nf2:b64") not in names(advise(ROWS, memory_gib=need * (1 - 1e-9), context=100))


def test_overlapping_intervals_tie_and_the_smallest_of_them_is_named():
    advice = advise(ROWS, memory_gib=1.0, context=10)
    best, second, third = advice.choices[:3]
    assert (best.format, second.format) == ("nf8:b64", "nf4:b64")
    assert second.tie_with_best is True
    assert third.tie_with_best is False
    assert any("cannot be told from it" in r and "large nf4:b64" in r for r in advice.reasons)
    apart = [row("a", 8, 0.5, 1.0, half=0.001), row("b", 8, 0.4, 1.0, half=0.001)]
    assert advise(apart, memory_gib=1.0, context=10).choices[1].tie_with_best is False


def test_without_intervals_ties_are_unknown():
    rows = [row("a", 8, 0.5, 1.0), {**row("b", 8, 0.49, 1.0), "gain_low": None, "gain_high": None}]
    second = advise(rows, memory_gib=1.0, context=10).choices[1]
    assert second.ci95 is None
    assert second.tie_with_best is None


def test_pareto_flag():
    flags = {(c.model, c.format): c.on_frontier for c in advise(ROWS, memory_gib=1.0, context=10).choices}
    assert flags == {
        ("large", "nf8:b64"): True, ("large", "nf4:b64"): True, ("huge", "nf2:b64"): False,
        ("small", "nf8:b64"): True, ("small", "nf4:b64"): True,
    }  # fmt: skip


def test_reasons_in_words():
    assert any("use more bits" in r for r in advise(ROWS[:4], memory_gib=1.5 / 1024, context=10).reasons)
    larger = advise(ROWS, memory_gib=3.5 / 1024, context=10)
    assert any("Larger models fit too, but lose" in r and "huge" in r for r in larger.reasons)
    nothing = advise(ROWS, memory_gib=1e-6, context=10)
    assert nothing.choices == ()
    assert "Nothing that was measured fits" in nothing.reasons[0]


def test_context_longer_than_the_model_s_and_unknown_facts_are_left_out_with_a_reason():
    rows = [
        row("short", 4, 0.9, 1.0, max_context=64),
        row("odd", 4, 0.8, 1.0, kv_heads=None),
        row("a", 4, 0.1, 1),
    ]
    advice = advise(rows, memory_gib=1.0, context=100)
    assert names(advice) == [("a", "nf4:b64")]
    reasons = {o.model: o.reason for o in advice.left_out}
    assert "longest context is 64" in reasons["short"]
    assert "kv_heads" in reasons["odd"]


def test_assumptions_state_context_cache_and_baseline():
    text = " ".join(advise(ROWS, memory_gib=1.0, context=77, batch=2, kv_bits=8).assumptions)
    for part in ("77 tokens", "2 sequences", "8 bits", "kneser-ney-6", "held-out", "not counted"):
        assert part in text


def test_several_texts_baselines_or_values_are_refused():
    mixed = [row("a", 4, 0.5, 1.0), row("a", 4, 0.4, 1.0, text="other")]
    with pytest.raises(LawError, match="several texts"):
        advise(mixed, memory_gib=1.0, context=10)
    assert advise(mixed, memory_gib=1.0, context=10, text="other").choices[0].gain == 0.4
    with pytest.raises(LawError, match="no gain on text 'othr': did you mean 'other'"):
        advise(mixed, memory_gib=1.0, context=10, text="othr")
    with pytest.raises(LawError, match="several baselines"):
        advise([row("a", 4, 0.5, 1.0), row("b", 4, 0.4, 1.0, baseline="uniform")], memory_gib=1.0, context=10)
    with pytest.raises(LawError, match="two gains"):
        advise([row("a", 4, 0.5, 1.0), row("a", 4, 0.4, 1.0)], memory_gib=1.0, context=10)


def test_no_gain_and_bad_numbers():
    with pytest.raises(LawError, match="no row holds a gain"):
        advise([{"model": "a", "gain": None}], memory_gib=1.0, context=10)
    with pytest.raises(UsageError, match="memory_gib must be positive"):
        advise(ROWS, memory_gib=0.0, context=10)
