"""Predicted choices: gains of a law for models of which only the config is known."""

import json

import numpy as np
import pytest

from kbit.advise import advise, candidates
from kbit.advise.predict import fit_gains, from_configs, predictor, with_gains
from kbit.errors import LawError, UsageError
from kbit.laws import fit
from kbit.quantize.from_config import config_model

CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512,
    "max_position_embeddings": 1024, "tie_word_embeddings": True,
}  # fmt: skip
FACTS = {
    "layers": 2, "kv_heads": 2, "head_dim": 16, "hidden_size": 64, "intermediate_size": 128,
    "vocab_size": 512, "max_context": 1024,
}  # fmt: skip
BITS = (8, 4, 3)
LOST = {8: 0.002, 4: 0.03, 3: 0.12}


def gain_of(parameters, k):
    return 1.5 - 12.0 * parameters**-0.25 - LOST[k]


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(3)
    made = []
    for i, parameters in enumerate(np.geomspace(2e4, 3e6, 8)):
        for k in BITS:
            gain = gain_of(parameters, k) + 0.001 * rng.normal()
            made.append(
                {
                    "model": f"m{i}",
                    "family": "f",
                    "format": f"nf{k}:b64",
                    "format_bits": k,
                    "method": "nearest",
                    "status": "ok",
                    "gain": gain,
                    "gain_low": gain - 0.004,
                    "gain_high": gain + 0.004,
                    "parameters": parameters,
                    "stored_bits": parameters * (k + 0.25),
                    "text": "t",
                    "baseline": "kneser-ney-6",
                    **FACTS,
                }
            )
    return made


def configs(tmp_path, **shapes):
    made = []
    for name, change in shapes.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(CONFIG | change))
        made.append(config_model(tmp_path / f"{name}.json"))
    return made


def test_a_law_predicts_what_was_not_measured_with_an_interval_that_holds_it(rows, tmp_path):
    measured = candidates(rows)
    by = fit_gains(measured)
    wide = configs(tmp_path, wide={"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6})
    found = with_gains(from_configs(wide, ["nf8:b64", "nf4:b64", "nf3:b64"]), by)
    assert [c.basis for c in found] == ["predicted"] * 3
    for c in found:
        truth = gain_of(wide[0].parameters, int(c.bits))
        assert c.gain == pytest.approx(truth, abs=0.02)
        assert c.prediction95[0] <= truth <= c.prediction95[1]
        assert c.ci95 is None
        assert c.extrapolation == pytest.approx(wide[0].parameters / 3e6)
    assert any("without m7 it missed it by" in note for note in by.notes)


def test_measured_choices_come_first_and_a_better_prediction_is_told(rows, tmp_path):
    wide = configs(tmp_path, wide={"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6})
    others = with_gains(from_configs(wide, ["nf4:b64"]), fit_gains(candidates(rows)))
    advice = advise(rows, memory_gib=1.0, context=64, others=others)
    assert [c.basis for c in advice.choices] == ["measured"] * 24 + ["predicted"]
    last = advice.choices[-1]
    assert last.model == "wide"
    assert last.gain > advice.choices[0].gain
    assert last.on_frontier
    assert last.tie_with_best is (last.prediction95[0] <= advice.choices[0].ci95[1])
    words = " ".join(advice.reasons)
    assert "wide nf4:b64 was not measured; the law predicts that it gains more" in words
    assert "Measure it before you rely on it" in words
    assert "Measured pairs come first, whatever is predicted of others." in advice.assumptions
    assert advice.to_dict()["choices"][-1]["prediction95"] == last.prediction95


def test_a_prediction_beats_no_measurement_on_the_frontier(rows, tmp_path):
    """A smaller model that the law calls better does not take a measured one off the frontier."""
    small = configs(tmp_path, small={"num_hidden_layers": 1, "vocab_size": 64})
    guess = with_gains(from_configs(small, ["nf3:b64"]), fit_gains(candidates(rows)))
    from dataclasses import replace

    bold = [replace(guess[0], gain=9.0, prediction95=(8.9, 9.1))]
    with_guess = advise(rows, memory_gib=1.0, context=64, others=bold).choices
    without = advise(rows, memory_gib=1.0, context=64).choices
    assert [c.on_frontier for c in with_guess[:24]] == [c.on_frontier for c in without]


def test_from_configs_alone_sizes_are_listed_and_not_ranked(tmp_path):
    models = configs(tmp_path, a={}, b={"num_hidden_layers": 4})
    advice = advise([], memory_gib=0.01, context=128, others=from_configs(models, ["bf16", "nf4:b64"]))
    assert {(c.model, c.format) for c in advice.choices} == {
        ("b", "bf16"), ("a", "bf16"), ("b", "nf4:b64"), ("a", "nf4:b64"),
    }  # fmt: skip
    sizes = [c.memory_gib for c in advice.choices]
    assert sizes == sorted(sizes, reverse=True)
    assert all(c.gain is None and c.basis == "memory" and not c.on_frontier for c in advice.choices)
    assert "listed by size and not ranked" in advice.reasons[0]
    none = advise([], memory_gib=1e-6, context=128, others=from_configs(models, ["bf16"]))
    assert none.choices == ()
    assert "Nothing that was asked about fits" in none.reasons[0]
    assert all("more than there is" in item.reason for item in none.left_out)


def test_sizes_from_a_config_are_those_of_the_folder_that_quantising_writes(tmp_path):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from kbit.formats import parse_format
    from kbit.models import stored_bits
    from kbit.quantize import quantize_model

    (known,) = configs(tmp_path, tiny={})
    config = AutoConfig.for_model(**CONFIG)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "folder")
    assert known.parameters == model.num_parameters()
    for fmt in ("nf4:b64", "int3:b32:q8"):
        out = tmp_path / fmt.replace(":", "-")
        quantize_model(tmp_path / "folder", out, format=fmt)
        assert known.stored_bits(parse_format(fmt)).whole == stored_bits(out).whole


def test_measured_pairs_are_not_given_twice_and_unknown_k_stay_without_a_gain(rows, tmp_path):
    (model,) = configs(tmp_path, m0={})
    found = from_configs([model], ["nf4:b64", "nf2:b64"], known=candidates(rows))
    assert [c.format for c in found] == ["nf2:b64"]
    by = fit_gains(candidates(rows), law="offset-by-bits")
    assert with_gains(found, by)[0].basis == "memory"  # 2 bits were not in the fit
    by = fit_gains(candidates(rows), law="capacity-by-error")
    assert with_gains(found, by)[0].basis == "predicted"  # its error on a Gaussian is known


def test_a_law_of_losses_or_of_unknown_inputs_is_refused(rows):
    size = np.geomspace(1e7, 1e10, 12)
    table = {"params": size, "tokens": size * np.resize([5.0, 20.0, 90.0], 12)}
    table["loss"] = 2 + 400 * size**-0.35 + 900 * table["tokens"] ** -0.33
    with pytest.raises(LawError, match="predicts 'loss'"):
        predictor(fit("chinchilla", table, resamples=5, starts=4))
    table["gain"] = table.pop("loss")
    of_gains = fit("chinchilla", table, direction="falling", resamples=5, starts=4)
    with pytest.raises(LawError, match="needs tokens"):
        predictor(of_gains)
    with pytest.raises(LawError, match="nothing is predicted"):
        fit_gains(candidates(rows[:3]))


def test_speed_ranks_nothing_but_leaves_out_what_is_too_slow(rows):
    slow = advise(rows, memory_gib=1.0, context=64, bandwidth_gb_per_s=1.0)
    assert [c.model for c in slow.choices] == [
        c.model for c in advise(rows, memory_gib=1.0, context=64).choices
    ]
    speeds = sorted(c.tokens_per_s for c in slow.choices)
    limit = speeds[len(speeds) // 2]
    quick = advise(rows, memory_gib=1.0, context=64, bandwidth_gb_per_s=1.0, least_tokens_per_s=limit)
    assert len(quick.choices) == sum(s >= limit for s in speeds)
    assert any("tokens a second at most, fewer than" in item.reason for item in quick.left_out)
    with pytest.raises(UsageError, match="bandwidth"):
        advise(rows, memory_gib=1.0, context=64, least_tokens_per_s=1.0)
