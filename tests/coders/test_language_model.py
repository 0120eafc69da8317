"""Code lengths of language models against an independent forward pass."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
)

from kbit.coders import LanguageModelCoder, logits, total
from kbit.coders.language_model import target_bits
from kbit.corpus import Document
from kbit.errors import CoderError, UsageError

TEXT = "There the hen is in a tin: 天地玄黄。\n\nThe other thing is better, he then said."


@pytest.fixture(scope="module")
def model(tiny):
    return tiny.model()


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return tiny.tokenizer()


@pytest.fixture(scope="module")
def independent(tiny, model):
    return tiny.NumpyLlama.of(model)


def documents(*texts: str) -> list[Document]:
    return [Document(name=f"d{i}", text=t) for i, t in enumerate(texts)]


def test_equals_an_independent_forward_pass(model, tokenizer, independent):
    texts = [TEXT[:40], "", "a", TEXT[20:50], "hen"]
    coder = LanguageModelCoder(model, tokenizer, name="tiny")
    got = list(coder.code_lengths(documents(*texts)))
    for lengths, text in zip(got, texts, strict=True):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert (lengths.tokens, lengths.bytes, lengths.characters) == (
            len(ids),
            len(text.encode()),
            len(text),
        )
        assert lengths.lossless
        expected = independent.bits(0, ids).sum() if ids else 0.0
        assert lengths.bits == pytest.approx(expected, abs=1e-4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 30), st.data())
def test_any_window_scores_each_token_once(model, tokenizer, independent, context, data):
    stride = data.draw(st.integers(1, context))
    repeat = data.draw(st.booleans())
    coder = LanguageModelCoder(
        model, tokenizer, name="t", context=context, stride=stride, repeat_prefix=repeat
    )
    [scored] = coder.token_bits(documents(TEXT))
    ids = tokenizer(TEXT, add_special_tokens=False).input_ids
    assert scored.ids == ids
    expected = []
    for t in range(len(ids)):
        # The first window that holds token t starts at the first multiple of the stride that reaches it.
        start = 0 if t < context else math.ceil((t - context + 1) / stride) * stride
        head = 0 if start == 0 or repeat else ids[start - 1]
        expected.append(independent.bits(head, ids[start : t + 1])[-1])
    np.testing.assert_allclose(scored.bits, expected, atol=2e-5)


def test_batching_changes_nothing_but_rounding(model, tokenizer):
    texts = documents(*(TEXT[i : 2 * i + 3] for i in range(0, 40, 3)))
    runs = [
        [
            c.bits
            for c in LanguageModelCoder(
                model, tokenizer, name="t", context=20, stride=9, batch_size=size
            ).code_lengths(texts)
        ]
        for size in (1, 4, 50)
    ]
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-6)
    np.testing.assert_allclose(runs[2], runs[0], rtol=1e-6)


def test_documents_come_in_order_however_many_are_held(model, tokenizer, monkeypatch):
    monkeypatch.setattr("kbit.coders.scoring.BATCH_TOKENS", 16)
    monkeypatch.setattr("kbit.coders.scoring.BATCHES_HELD", 2)
    texts = documents("a", TEXT, "", TEXT[:9], "", "b" * 70, "c")
    coder = LanguageModelCoder(model, tokenizer, name="t", context=8, stride=3)
    got = list(coder.code_lengths(texts))
    assert [c.document for c in got] == [d.name for d in texts]
    alone = [next(coder.code_lengths([d])).bits for d in texts]
    np.testing.assert_allclose([c.bits for c in got], alone, rtol=1e-6)


def small(kind: str) -> torch.nn.Module:
    torch.manual_seed(1)
    shape = {
        "vocab_size": 265,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "intermediate_size": 32,
        "initializer_range": 0.3,
        "head_dim": 8,
    }
    if kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=265, n_embd=32, n_layer=1, n_head=4, n_positions=48, initializer_range=0.3)
        )
    if kind == "granite":
        return GraniteForCausalLM(GraniteConfig(**shape, logits_scaling=3.0))
    return Gemma2ForCausalLM(Gemma2Config(**shape, final_logit_softcapping=2.0))


@pytest.mark.parametrize(("kind", "in_chunks"), [("gpt2", True), ("granite", False), ("gemma2", False)])
def test_a_head_that_does_more_than_multiply_is_noticed(tokenizer, kind, in_chunks, monkeypatch):
    monkeypatch.setattr(logits, "HEAD_LOGITS", 265 * 7)
    monkeypatch.setattr(logits, "PIECE_LOGITS", 265 * 3)
    model = small(kind).eval()
    coder = LanguageModelCoder(model, tokenizer, name=kind)
    assert coder.reader.in_chunks == in_chunks
    [scored] = coder.token_bits(documents(TEXT[:40]))
    with torch.no_grad():
        whole = model(torch.tensor([[0, *scored.ids[:-1]]])).logits[0].double().log_softmax(-1)
    expected = -whole[range(len(scored.ids)), scored.ids] / math.log(2)
    np.testing.assert_allclose(scored.bits, expected, atol=1e-5)


def test_target_bits_of_large_logits():
    # 0.5, 0.25, 0.25 in float32 logits near 80: one bit and two bits, to the rounding of the logits.
    shifted = torch.tensor([[0.5, 0.25, 0.25]]).log() + 80
    got = target_bits(shifted.repeat(2, 1), torch.tensor([0, 2]))
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got, [1, 2], atol=2e-5)
    assert target_bits(torch.zeros(1, 1024), torch.tensor([5])).item() == 10


def test_a_model_of_equal_logits_needs_log2_of_its_vocabulary(model, tokenizer):
    head = model.lm_head.weight.clone()
    try:
        model.lm_head.weight.data.zero_()
        [lengths] = LanguageModelCoder(model, tokenizer, name="t").code_lengths(documents(TEXT[:30]))
    finally:
        model.lm_head.weight.data.copy_(head)
    assert lengths.bits == pytest.approx(lengths.tokens * math.log2(265), rel=1e-12)


def test_chinese_by_character(model, tokenizer):
    [lengths] = LanguageModelCoder(model, tokenizer, name="t").code_lengths(documents("天地玄黄"))
    assert (lengths.bytes, lengths.characters) == (12, 4)
    assert lengths.bits_per_character == pytest.approx(3 * lengths.bits_per_byte)


def test_the_model_is_left_as_it_was(model, tokenizer):
    model.train()
    try:
        list(LanguageModelCoder(model, tokenizer, name="t").code_lengths(documents("abc")))
        assert model.training
    finally:
        model.eval()


def test_defaults_and_settings(model, tokenizer):
    coder = LanguageModelCoder(model, tokenizer, name="t")
    assert coder.settings == {
        "context": 64,
        "stride": 32,
        "prefix": 0,
        "prefix_rule": "bos",
        "repeat_prefix": True,
    }
    assert coder.numerics["forward"] == "float32"
    assert LanguageModelCoder(model, tokenizer, name="t", prefix="</s>").settings["prefix"] == 1


def test_errors(tiny, model, tokenizer):
    with pytest.raises(UsageError, match="at most 64"):
        LanguageModelCoder(model, tokenizer, name="t", context=65)
    with pytest.raises(UsageError, match="--stride"):
        LanguageModelCoder(model, tokenizer, name="t", context=8, stride=9)
    with pytest.raises(UsageError, match="batch size"):
        LanguageModelCoder(model, tokenizer, name="t", batch_size=0)
    with pytest.raises(CoderError, match="--prefix"):
        LanguageModelCoder(model, tiny.tokenizer(bos=False, eos=False), name="t")
    few = tiny.model(vocab_size=100)
    with pytest.raises(CoderError, match="do not belong together"):
        list(LanguageModelCoder(few, tokenizer, name="t").code_lengths(documents("the")))


def test_damaged_weights_are_an_error_not_a_figure(tiny, tokenizer):
    broken = tiny.model()
    broken.model.norm.weight.data[3] = float("nan")
    with pytest.raises(CoderError, match=r"'d0' nan bits"):
        list(LanguageModelCoder(broken, tokenizer, name="t").code_lengths(documents("abc")))


@pytest.mark.shared
def test_stories260k_equals_an_independent_sum(shared, tiny):
    path = shared / "data/models/stories260K"
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    raw = (shared / "data/corpora/tinystories_sample/tinystories_sample.txt").read_text()
    stories = [s.strip() for s in raw.split("<|endoftext|>") if s.strip()][1000:1012]
    ids = [tokenizer(s, add_special_tokens=False).input_ids[:511] for s in stories]
    texts = documents(*(tokenizer.decode(i) for i in ids))
    got = list(LanguageModelCoder(model, tokenizer, name="stories260K").code_lengths(texts))
    reference = tiny.NumpyLlama.read(path)
    for lengths, its_ids, text in zip(got, ids, texts, strict=True):
        assert (lengths.tokens, lengths.bytes) == (len(its_ids), len(text.text.encode()))
        # Sums of float32 products in another order: the last digit of a thousand bits differs by processor.
        assert lengths.bits == pytest.approx(reference.bits(1, its_ids).sum(), abs=5e-4)
    with torch.inference_mode():
        plain = [model(torch.tensor([[1, *i]])).logits[0, :-1].double().log_softmax(-1) for i in ids]
    sums = [-log_p[range(len(i)), i].sum().item() / math.log(2) for log_p, i in zip(plain, ids, strict=True)]
    assert total(got).bits == pytest.approx(sum(sums), abs=1e-5)
    # The figure two independent forward passes agreed on before this project.
    assert total(got).bits_per_byte == pytest.approx(0.822, abs=5e-4)


@pytest.mark.shared
@pytest.mark.parametrize(("context", "stride"), [(512, 512), (512, 200), (100, 1)])
def test_stories260k_long_document(shared, context, stride):
    path = shared / "data/models/stories260K"
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    text = (shared / "data/corpora/tinystories_sample/tinystories_sample.txt").read_text()
    text = text[: 8000 if stride > 1 else 1500].replace("<|endoftext|>", "")
    [scored] = LanguageModelCoder(
        model, tokenizer, name="stories260K", context=context, stride=stride
    ).token_bits(documents(text))
    assert scored.ids == tokenizer(text, add_special_tokens=False).input_ids
    assert len(scored.ids) > context
    assert np.isfinite(scored.bits).all()
    assert scored.bytes_lost == 0
