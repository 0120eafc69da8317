"""Continuations: what they are drawn from, that they are drawn so, and that a file survives interruptions."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from kbit.coders import LanguageModelCoder
from kbit.corpus import Document
from kbit.errors import ModelError, UsageError
from kbit.information.generated.continuation import read_continuations
from kbit.information.generated.decoding import Decoding
from kbit.information.generated.file import generate_file
from kbit.information.generated.produce import (
    Wanted,
    _draw,
    human_continuation,
    make_prompts,
    produce,
)


@pytest.fixture(scope="module")
def tiny():
    path = Path(__file__).parent.parent.parent / "coders" / "tiny.py"
    spec = importlib.util.spec_from_file_location("kbit_tests_tiny_produce", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tiny):
    return tiny.model()


PROMPTS = [Document(name="a", text="the hen is in the tin"), Document(name="b", text="天地玄黄"),
           Document(name="c", text="")]  # fmt: skip


def wanted(tiny, n=2, tokens=None):
    prompts = make_prompts(tiny.tokenizer(), PROMPTS, prompt_tokens=tokens)
    return [Wanted(prompt=p, seed=s, sample=i) for p in prompts for s in (0, 5) for i in range(n)]


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(0.7, 0, 1.0), (1.3, 5, 1.0), (1.0, 0, 0.8),
                                                            (0.9, 7, 0.6), (1.0, 1, 1.0)])  # fmt: skip
def test_probabilities_are_those_of_transformers(temperature, top_k, top_p):
    logits = torch.randn(50, 40, generator=torch.Generator().manual_seed(1)) * 3
    scores = TemperatureLogitsWarper(temperature)(None, logits.double())
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    ours = Decoding(temperature=temperature, top_k=top_k, top_p=top_p).probabilities(logits)
    assert torch.allclose(ours, scores.softmax(-1), atol=1e-12)


def test_tokens_are_drawn_with_the_probability_that_is_told():
    logits = torch.tensor([[0.0, 2.0, -1.0, 1.0, -50.0]]).repeat(20_000, 1)
    decoding = Decoding(temperature=1.5, top_k=3)
    generators = [np.random.default_rng([7, i]) for i in range(len(logits))]
    tokens, drawn, own = _draw(logits, decoding, generators)
    p = decoding.probabilities(logits[:1])[0]
    share = torch.bincount(tokens, minlength=5) / len(tokens)
    assert torch.allclose(share.double(), p, atol=4 * math.sqrt(0.25 / len(tokens)))
    assert p[2] == p[4] == 0
    assert torch.allclose(torch.tensor(drawn).double(), -p[tokens].log2(), atol=1e-9)
    assert torch.allclose(
        torch.tensor(own).double(), -logits[0].double().log_softmax(0)[tokens] / math.log(2)
    )
    # H(q) of what is drawn is the entropy of the distribution.
    entropy = float(-(p[p > 0] * p[p > 0].log2()).sum())
    assert np.mean(drawn) == pytest.approx(entropy, abs=0.02)
    _, greedy, _ = _draw(logits[:1], Decoding(temperature=0), generators[:1])
    assert greedy == [0.0]


def test_a_token_without_probability_is_never_drawn():
    class Always:
        def __init__(self, value):
            self.value = value

        def random(self):
            return self.value

    logits = torch.tensor([[-9.0, 1.0, 1.0, -9.0]]).repeat(2, 1)
    tokens, _, _ = _draw(logits, Decoding(top_k=2), [Always(0.0), Always(1 - 2**-53)])
    assert tokens.tolist() == [1, 2]
    with pytest.raises(ModelError, match="not numbers"):
        _draw(torch.tensor([[math.nan, 0.0]]), Decoding(), [Always(0.5)])


def test_bits_under_the_model_are_those_of_the_coder(tiny, model):
    """The raw bits of an unconditional text are its code length, token by token."""
    items = [w for w in wanted(tiny) if w.prompt.source == "c"]
    coder = LanguageModelCoder(model, tiny.tokenizer(), name="m")
    for batch in produce(model, tiny.tokenizer(), items, Decoding(max_new_tokens=12)):
        for made in batch:
            reference = tiny.NumpyLlama.of(model).bits(0, list(made.tokens))
            assert np.allclose(made.model_bits, reference, atol=1e-4)
            assert made.model_bits == pytest.approx(made.decoding_bits, abs=1e-9)
    assert coder.prefix.id == items[0].prompt.ids[0]


def test_neither_batch_nor_company_changes_a_text(tiny, model):
    items = wanted(tiny)
    decoding = Decoding(temperature=0.8, top_k=40, max_new_tokens=10)
    made = [m for b in produce(model, tiny.tokenizer(), items, decoding, batch_size=5) for m in b]
    together = {(m.wanted.prompt.source, m.wanted.seed, m.wanted.sample): m.text for m in made}
    assert len(set(together.values())) > 8
    for item in items[::3]:
        ((alone,),) = produce(model, tiny.tokenizer(), [item], decoding, batch_size=1)
        assert alone.text == together[item.prompt.source, item.seed, item.sample]


def test_the_end_is_told_and_counted_apart(tiny):
    model = tiny.model(seed=3)
    with torch.no_grad():
        model.lm_head.weight.zero_()  # every token as likely: 265 of them
    model.generation_config.eos_token_id = list(range(100, 200))
    items = [w for w in wanted(tiny, n=30) if w.prompt.source == "a"]
    made = [m for b in produce(model, tiny.tokenizer(), items, Decoding(max_new_tokens=6)) for m in b]
    ended = [m for m in made if m.finish == "end"]
    assert 40 < len(ended) < 60
    assert all(m.end == pytest.approx((math.log2(265),) * 2) for m in ended)
    assert all(len(m.tokens) == len(m.model_bits) == len(m.decoding_bits) for m in made)
    assert all(t not in range(100, 200) for m in made for t in m.tokens)
    assert all(len(m.tokens) == 6 for m in made if m.finish == "length")


def test_prompts_are_cut_at_characters(tiny):
    tokenizer = tiny.tokenizer()
    text = "天地玄黄 hen"
    whole = tokenizer(text)["input_ids"]
    for tokens in range(len(whole) + 2):
        (prompt,) = make_prompts(tokenizer, [Document(name="x", text=text)], prompt_tokens=tokens)
        assert text.startswith(prompt.text)
        assert len(prompt.ids) <= tokens + 1
        told, rest = human_continuation(
            tokenizer, Document(name="x", text=text), prompt_tokens=tokens, new_tokens=4
        )
        assert told == prompt.text
        assert text.startswith(told + rest)
    assert prompt.text == text
    with pytest.raises(UsageError, match="two prompts are called 'x'"):
        make_prompts(tokenizer, [Document(name="x", text="a")] * 2, prompt_tokens=None)


def test_a_file_goes_on_where_it_was_broken_off(tiny, model, tmp_path):
    tokenizer = tiny.tokenizer()
    prompts = make_prompts(tokenizer, PROMPTS, prompt_tokens=None)
    settings = {"samples": 2, "seeds": (0, 5), "told": {"model": "m", "content": "c"}, "batch_size": 3}
    decoding = Decoding(max_new_tokens=8)
    whole = generate_file(model, tokenizer, prompts, decoding, out=tmp_path / "a.jsonl", **settings)
    assert (whole.lines, whole.made) == (12, 12)

    def stop(there, of):
        if there >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_file(model, tokenizer, prompts, decoding, out=tmp_path / "b.jsonl", on_made=stop, **settings)
    part = tmp_path / "b.jsonl.part"
    assert not (tmp_path / "b.jsonl").exists()
    part.write_bytes(part.read_bytes() + b'{"source": "a", "se')  # killed within a line
    again = generate_file(model, tokenizer, prompts, decoding, out=tmp_path / "b.jsonl", **settings)
    assert again.made == 12 - part_lines(6)
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()
    assert not part.exists()
    third = generate_file(model, tokenizer, prompts, decoding, out=tmp_path / "b.jsonl", **settings)
    assert third.made == 0
    with pytest.raises(UsageError, match="another model, prompt, seed or setting"):
        generate_file(
            model, tokenizer, prompts, Decoding(max_new_tokens=9), out=tmp_path / "b.jsonl", **settings
        )
    # More samples go on from what is there.
    more = generate_file(
        model, tokenizer, prompts, decoding, out=tmp_path / "b.jsonl", **{**settings, "samples": 3}
    )
    assert (more.lines, more.made) == (18, 6)


def part_lines(at_least: int) -> int:
    """Batches are of 3, of prompts of one length (4 continuations each): 3, 4, 7 lines."""
    return next(n for n in (3, 4, 7, 8, 11, 12) if n >= at_least)


def test_lines_hold_what_compare_reads(tiny, model, tmp_path):
    tokenizer = tiny.tokenizer()
    prompts = make_prompts(tokenizer, PROMPTS, prompt_tokens=None)
    out = tmp_path / "a.jsonl"
    generate_file(
        model, tokenizer, prompts, Decoding(temperature=0.9, max_new_tokens=8), samples=1, seeds=(3,),
        out=out, told={"model": "m", "content": "c"},
    )  # fmt: skip
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    read = {c.name: c for c in read_continuations(out)}
    for row in rows:
        if not row["text"]:
            continue
        found = read[row["name"]]
        assert (found.source, found.prompt, found.seed) == (row["source"], row["prompt"], 3)
        assert found.decoding_bits == pytest.approx(sum(row["decoding_bits"]))
        assert found.model_bits == pytest.approx(sum(row["model_bits"]))
        assert found.tokens == len(row["tokens"]) == len(row["model_bits"])
    long = make_prompts(tokenizer, [Document(name="l", text="hen " * 40)], prompt_tokens=None)
    made = produce(model, tokenizer, [Wanted(prompt=long[0], seed=0, sample=0)], Decoding())
    with pytest.raises(ModelError, match="Take fewer of it"):
        next(made)


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"temperature": math.inf}, {"top_k": -1},
                                   {"top_p": 0}, {"top_p": 1.1}, {"max_new_tokens": 0}])  # fmt: skip
def test_settings_out_of_range(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Decoding(**wrong)
