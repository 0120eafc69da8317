"""The core's step against Transformers: logits, greedy tokens, several texts, windows, caches, refusals."""

import copy
import math
import os
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from kbit import _core, ladder
from kbit.errors import ModelError, UsageError
from kbit.models import generate, load, load_tokenizer
from kbit.models.decode import Chooser, CoreDecoder, Sampling, unserved
from kbit.models.numerics import set_numerics
from kbit.quantize import quantize_model

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "models" / "stories260K"
SMALL = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
CONFIGS = {
    "llama": LlamaConfig(**SMALL),
    "llama-tied-bias": LlamaConfig(
        **{**SMALL, "tie_word_embeddings": True}, attention_bias=True, mlp_bias=True, head_dim=24
    ),
    "llama3-rope": LlamaConfig(
        **SMALL,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
    "mistral-window": MistralConfig(**SMALL, sliding_window=9),
    "qwen2": Qwen2Config(**SMALL),
    "qwen2-window": Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=7, max_window_layers=1),
    "qwen3": Qwen3Config(**SMALL, head_dim=32),
}


def make(name, dtype=torch.float32):
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[name])).to(dtype).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.ndim == 1:  # norms and biases that matter
                weight.add_(0.3 * torch.randn_like(weight))
            elif "embed" not in key:
                weight.mul_(4)
    return model


def reference(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float()


def tokens(count, seed=0, vocabulary=96):
    return torch.randint(vocabulary, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def walk(decoder, ids, prompt):
    """Logits after the prompt and after each token beyond it."""
    found = [decoder.read(ids[:prompt])]
    found += [decoder.step([token])[0] for token in ids[prompt:]]
    return torch.stack(found)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("prompt", [1, 37])
def test_logits_are_those_of_transformers(name, prompt):
    model, ids = make(name), tokens(60)
    found = walk(CoreDecoder(model, room=60), ids, prompt)
    expected = reference(model, ids)[prompt - 1 :]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4 * float(expected.std()))


@pytest.mark.parametrize("path", ["portable", "avx2", "avx512"])
def test_every_path_agrees(path, monkeypatch):
    if path not in _core.paths():
        pytest.skip(f"this processor has no {path}")
    monkeypatch.setenv("KBIT_KERNEL", path)
    model, ids = make("qwen3"), tokens(40)
    expected = reference(model, ids)[19:]
    found = walk(CoreDecoder(model, room=40), ids, 20)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-4 * float(expected.std()))


@pytest.mark.parametrize(
    "fmt", ["int8:b64", "nf4:b64", "uint3:b32", "e2m1:b16:fp32", "int5:flat64", "int2:row"]
)
def test_packed_weights_decode_as_they_score(fmt, tmp_path):
    make("llama").save_pretrained(tmp_path / "dense")
    quantize_model(tmp_path / "dense", tmp_path / "packed", format=fmt, embeddings=fmt, head="nf4:b64")
    model, ids = load(tmp_path / "packed", dtype=torch.float32), tokens(30)
    expected = reference(model, ids)[9:]
    found = walk(CoreDecoder(model, room=30), ids, 10)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_bfloat16_is_nearer_to_exact_than_transformers():
    model, ids = make("llama", torch.bfloat16), tokens(50)
    exact = reference(make("llama", torch.bfloat16).float(), ids)[9:]
    ours = walk(CoreDecoder(model, room=50), ids, 10)
    theirs = reference(model, ids)[9:]
    error = (ours - exact).norm() / exact.norm()
    assert error < 0.02
    assert error < (theirs - exact).norm() / exact.norm()


@pytest.mark.parametrize(("bits", "most"), [(32, 1e-5), (16, 0.01), (8, 0.02)])
def test_a_smaller_cache_costs_little_and_takes_less(bits, most):
    model, ids = make("llama"), tokens(60)
    decoder = CoreDecoder(model, room=64, cache_bits=bits)
    expected = reference(model, ids)[9:]
    error = (walk(decoder, ids, 10) - expected).norm() / expected.norm()
    assert error < most
    values = 2 * 3 * 2 * 64 * 16  # keys and values, layers, key heads, room, width
    assert decoder.cache_bytes == values * bits // 8 + (4 * values // 16 if bits == 8 else 0)


def test_eight_texts_of_different_lengths_side_by_side():
    model = make("mistral-window")
    texts = [tokens(5 + 3 * number, seed=number) for number in range(8)]
    decoder = CoreDecoder(model, room=48, texts=8)
    last = [decoder.read(ids, text=number) for number, ids in enumerate(texts)]
    for _ in range(12):
        chosen = [int(logits.argmax()) for logits in last]
        for ids, token in zip(texts, chosen, strict=True):
            ids.append(token)
        last = list(decoder.step(chosen, list(range(8))))
    for ids, logits in zip(texts, last, strict=True):
        expected = reference(model, ids)[-1]
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=2e-4 * float(expected.std()))


def test_a_rewound_text_goes_on_as_if_the_rest_had_not_been():
    model, ids = make("qwen2"), tokens(30)
    decoder = CoreDecoder(model, room=40)
    decoder.read(ids)
    decoder.rewind(12)
    other = [*ids[:12], *tokens(10, seed=9)]
    torch.testing.assert_close(decoder.read(other[12:]), reference(model, other)[-1], rtol=1e-4, atol=1e-3)


def test_eight_bit_activations_are_near_and_not_the_same(tmp_path):
    make("llama").save_pretrained(tmp_path / "dense")
    quantize_model(tmp_path / "dense", tmp_path / "packed", format="int4:b64")
    model, ids = load(tmp_path / "packed", dtype=torch.float32), tokens(30)
    exact = walk(CoreDecoder(model, room=30), ids, 10)
    set_numerics(model, "a8")
    rounded = walk(CoreDecoder(model, room=30), ids, 10)
    error = (rounded - exact).norm() / exact.norm()
    assert 1e-5 < error < 0.05


@pytest.mark.parametrize("place", [*(f"rung-{i}" for i in range(1, 8)), "stories260K"])
def test_greedy_tokens_are_those_of_transformers(place):
    """200 tokens for each prompt, or the first difference is a tie within rounding.

    KBIT_TEST_PROMPTS=10 takes all ten (two minutes).
    """
    folder = SHARED if place == "stories260K" else ladder.rungs()[int(place[-1]) - 1]
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    model, tokenizer = load(folder, dtype=torch.float32), load_tokenizer(folder)
    for prompt in PROMPTS[: int(os.environ.get("KBIT_TEST_PROMPTS", "2"))]:
        settings = {"max_new_tokens": 200, "temperature": 0}
        ours = generate(model, tokenizer, prompt, engine="core", **settings)
        theirs = generate(model, tokenizer, prompt, engine="transformers", **settings)
        if ours.tokens == theirs.tokens:
            continue
        at = next(i for i, (a, b) in enumerate(zip(ours.tokens, theirs.tokens, strict=False)) if a != b)
        seen = [*tokenizer(prompt).input_ids, *ours.tokens[:at]]
        logits = reference(model, seen)[-1]
        assert abs(float(logits[ours.tokens[at]] - logits[theirs.tokens[at]])) < 1e-3


PROMPTS = [
    "def read(self, size):\n", "The value of the attribute is ", "import ", "class ", "Once upon a time",
    "If the file", "for key in ", "Return a list of", "The little girl", "    raise ValueError(",
]  # fmt: skip


def test_sampling_is_that_of_transformers():
    folder = ladder.rungs()[0]
    model, tokenizer = load(folder, dtype=torch.float32), load_tokenizer(folder)
    settings = {"max_new_tokens": 60, "seed": 11, "temperature": 0.9, "top_k": 40, "top_p": 0.9}
    settings |= {"min_p": 0.02, "repetition_penalty": 1.2}
    found = [
        generate(model, tokenizer, "def f(x):", engine=engine, **settings)
        for engine in ("core", "transformers")
    ]
    assert found[0].tokens == found[1].tokens
    assert found[0].text == found[1].text
    assert [item.engine for item in found] == ["core", "transformers"]


@pytest.mark.parametrize("engine", ["core", "transformers"])
def test_stop_strings_end_the_text_before_them(engine):
    folder = ladder.rungs()[2]
    model, tokenizer = load(folder, dtype=torch.float32), load_tokenizer(folder)
    whole = generate(model, tokenizer, "The ", temperature=0, max_new_tokens=40, engine=engine)
    stop = whole.text[12:15]
    pieces = []
    cut = generate(
        model, tokenizer, "The ", temperature=0, max_new_tokens=40, engine=engine,
        stop=[stop, "never in it"], stream=pieces.append,
    )  # fmt: skip
    assert cut.finish == "stop"
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert "".join(pieces) == cut.text
    assert len(cut.tokens) < len(whole.tokens)


@pytest.mark.parametrize("engine", ["core", "transformers"])
def test_an_interruption_keeps_what_was_made(engine):
    folder = ladder.rungs()[0]
    model, tokenizer = load(folder, dtype=torch.float32), load_tokenizer(folder)
    given = []

    def interrupt(piece):
        given.append(piece)
        if len(given) == 5:
            raise KeyboardInterrupt

    made = generate(
        model, tokenizer, "The ", temperature=0, max_new_tokens=50, engine=engine, stream=interrupt
    )
    assert made.finish == "interrupted"
    assert 5 <= len(made.tokens) < 50
    assert made.text == "".join(given)


def test_what_is_not_served_is_said(tiny, tmp_path):
    gpt2 = load(tiny.write_model(tmp_path / "gpt2", "gpt2"))
    assert "this is gpt2" in unserved(gpt2)
    with pytest.raises(ModelError, match=r"this is gpt2.*Transformers instead"):
        CoreDecoder(gpt2, room=8)
    gelu = make("llama")
    gelu.config.hidden_act = "gelu"
    assert "activation is gelu" in unserved(gelu)
    half = make("llama").half()
    assert "float16" in unserved(half)
    moving = make("llama")
    moving.config.rope_parameters = {"rope_type": "dynamic"}
    assert "depends on the length" in unserved(moving)
    assert unserved(make("qwen3")) is None


def test_bad_calls_are_refused():
    model = make("llama")
    with pytest.raises(ModelError, match="8, 16 or 32 bits, given 4"):
        CoreDecoder(model, room=8, cache_bits=4)
    decoder = CoreDecoder(model, room=3)
    decoder.read([1, 2, 3])
    with pytest.raises(ModelError, match="no room for 1 more"):
        decoder.step([4])
    with pytest.raises(ModelError, match="at least one token"):
        decoder.read([])
    with pytest.raises(ModelError, match="cannot go back to 9"):
        decoder.rewind(9)
    decoder.rewind(0)
    with pytest.raises(ValueError, match="no token 96"):
        decoder.step([96])


def test_settings_out_of_range_are_refused():
    for settings in ({"min_p": 1.0}, {"repetition_penalty": 0.0}, {"temperature": math.nan}):
        with pytest.raises(UsageError, match=next(iter(settings))):
            Sampling(**settings)
    with pytest.raises(ModelError, match="not numbers"):
        Chooser(Sampling(temperature=0)).choose(torch.tensor([1.0, math.nan]), [1])


panels = pytest.mark.skipif(
    not _core.long_products(),
    reason="this processor has no products in panels: prompts go a few tokens at a time",
)


def errors(model, exact_model, ids, prompt, **settings):
    """Relative errors of the core's and of Transformers' logits, both in bfloat16, against float32."""
    exact = reference(exact_model, ids)[prompt - 1 :]
    ours = walk(CoreDecoder(model, room=len(ids), **settings), ids, prompt)
    theirs = reference(model, ids)[prompt - 1 :]
    return float((ours - exact).norm() / exact.norm()), float((theirs - exact).norm() / exact.norm())


@panels
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("panel", [512, 40])
def test_a_long_prompt_is_read_as_transformers_reads_it(name, panel, monkeypatch):
    monkeypatch.setattr("kbit.models.decode.decoder.LONG_PANEL", panel)
    model = make(name, torch.bfloat16)
    assert CoreDecoder(model, room=4)._core.reads
    ours, theirs = errors(model, make(name, torch.bfloat16).float(), tokens(110), 101)
    assert ours < 0.03
    assert ours < 1.2 * theirs


@panels
@pytest.mark.parametrize("fmt", ["int4:b64", "nf3:b32", "uint5:row", "int6:flat64"])
def test_packed_weights_are_read_too(fmt, tmp_path):
    make("llama", torch.bfloat16).save_pretrained(tmp_path / "dense")
    quantize_model(tmp_path / "dense", tmp_path / "packed", format=fmt)
    model = load(tmp_path / "packed")
    ours, theirs = errors(model, load(tmp_path / "packed", dtype=torch.float32), tokens(60), 53)
    assert ours < 0.03
    assert ours < 1.2 * theirs


@panels
@pytest.mark.parametrize("bits", [32, 16, 8])
def test_every_cache_is_filled_by_a_long_prompt(bits):
    model, ids = make("qwen3", torch.bfloat16), tokens(70)
    long = CoreDecoder(model, room=80, texts=2, cache_bits=bits)
    short = CoreDecoder(model, room=80, cache_bits=bits)
    read = long.read(ids, text=1)
    for start in range(0, len(ids), 10):  # a few at a time: never the long way
        stepped = short.read(ids[start : start + 10])
    assert (read - stepped).norm() / stepped.norm() < 0.03
    after = long.step([3], [1])[0], short.step([3])[0]
    assert (after[0] - after[1]).norm() / after[1].norm() < 0.03
