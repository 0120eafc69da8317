"""Divergence against known answers."""

import math

import numpy as np
import pytest
import torch

from kbit.coders import LanguageModelCoder
from kbit.corpus import Document
from kbit.errors import CoderError, UsageError
from kbit.information import divergence
from kbit.information.token_divergence import kl_bits

TEXT = ["The hen is in the tin.", "", "天地玄黄", "then he said: there, there, the other hen is better " * 3]


@pytest.fixture(scope="module")
def documents():
    return [Document(name=f"d{i}", text=t) for i, t in enumerate(TEXT)]


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return tiny.tokenizer()


@pytest.fixture(scope="module")
def models(tiny):
    return tiny.model(0), tiny.model(1)


def test_kl_of_known_distributions():
    p = torch.tensor([[0.5, 0.5], [0.75, 0.25], [0.5, 0.5]]).log()
    q = torch.tensor([[0.25, 0.75], [0.75, 0.25], [0.5, 0.5]]).log()
    # 1/2 log2 2 + 1/2 log2 2/3 = 1 - log2(3)/2. Logits may be shifted by any constant.
    got = kl_bits(p + 3, q - 7)
    np.testing.assert_allclose(got, [1 - math.log2(3) / 2, 0, 0], atol=1e-12, rtol=1e-6)


def test_kl_of_gaussian_shaped_logits():
    # Two discretised Gaussians of one width: KL = (m1 - m2)^2 / 2s^2 nats.
    x = torch.arange(-400, 401).float()
    p, q = (-((x - m) ** 2) / (2 * 30**2) for m in (0.0, 12.0))
    assert kl_bits(p[None], q[None]).item() == pytest.approx(0.08 / math.log(2), rel=1e-5)


def test_kl_when_small_keeps_its_digits():
    # logits differ by e at one of V equal entries: KL ~ e^2/2 (1/V)(1 - 1/V) nats, far below 1e-7.
    p = torch.zeros(1, 1000)
    q = p.clone()
    q[0, 3] = 2**-10
    expected = 2**-20 / 2 * 1e-3 * (1 - 1e-3) / math.log(2)
    assert kl_bits(p, q).item() == pytest.approx(expected, rel=2e-3)
    assert kl_bits(p, p).item() == 0


def test_kl_at_the_edges():
    inf = math.inf
    p, q = torch.tensor([[0.0, -inf]]), torch.tensor([[0.0, 0.0]])
    assert kl_bits(p, q).item() == pytest.approx(1)  # all of p where q has half
    assert kl_bits(q, p).item() == inf  # p where q rules it out
    assert kl_bits(p, p).item() == 0
    for depth in (-730.0, -2000.0):  # a probability of 1e-317, and one of nothing
        assert kl_bits(torch.tensor([[0.0, depth]]), q).item() == pytest.approx(1)
    far = torch.tensor([[0.0, -2000.0]])
    assert kl_bits(q, far).item() == pytest.approx(1000 / math.log(2) - 1, rel=1e-6)


def test_never_negative():
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(200, 300, generator=generator) * 5
    q = p + torch.randn(200, 300, generator=generator) * 1e-6
    got = kl_bits(p, q)
    assert (got >= 0).all()
    assert got.max() < 1e-10


def test_of_itself_is_exactly_zero(models, tokenizer, documents):
    found = divergence(models[0], models[0], tokenizer, documents, context=32, stride=8)
    assert found.kl_bits == 0
    assert found.agreement().value == 1
    assert [d.document for d in found.documents] == [d.name for d in documents]


def test_against_independent_forward_passes(tiny, models, tokenizer, documents):
    found = divergence(models[1], models[0], tokenizer, documents)
    ours, theirs = (tiny.NumpyLlama.of(m) for m in (models[1], models[0]))
    for part, document in zip(found.documents[:3], documents[:3], strict=True):
        ids = tokenizer(document.text, add_special_tokens=False).input_ids
        if not ids:
            assert (part.tokens, part.kl_bits, part.bytes) == (0, 0, 0)
            continue
        q, p = (m.logits([0, *ids[:-1]]) for m in (ours, theirs))
        log_q, log_p = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (q, p))
        assert part.tokens == len(ids)
        assert part.bytes == len(document.text.encode())
        assert part.kl_bits == pytest.approx((np.exp(log_p) * (log_p - log_q)).sum() / math.log(2), rel=1e-5)
        assert part.agreed == (q.argmax(-1) == p.argmax(-1)).sum()
        assert part.model_bits == pytest.approx(ours.bits(0, ids).sum(), rel=1e-5)


def test_is_of_the_same_tokens_as_the_coder(models, tokenizer, documents):
    found = divergence(models[1], models[0], tokenizer, documents, context=16, stride=5)
    for which, model in (("model_bits", models[1]), ("reference_bits", models[0])):
        coder = LanguageModelCoder(model, tokenizer, name="t", context=16, stride=5)
        coded = list(coder.code_lengths(documents))
        assert [getattr(d, which) for d in found.documents] == pytest.approx(
            [c.bits for c in coded], rel=1e-6
        )
        assert found.settings == coder.settings
    assert found.tokens == sum(c.tokens for c in coded)


def test_grows_with_the_noise_in_the_weights(tiny, tokenizer, documents):
    reference = tiny.model(0)
    found = []
    for noise in (0.002, 0.02, 0.2):
        noisy = tiny.model(0)
        torch.manual_seed(5)
        for weight in noisy.parameters():
            weight.data += noise * torch.randn_like(weight)
        found.append(divergence(noisy, reference, tokenizer, documents))
    assert found[0].kl_bits < found[1].kl_bits / 10 < found[2].kl_bits / 10
    assert found[0].agreement().value > found[2].agreement().value
    estimate = found[1].kl_bits_per_byte()
    assert estimate.low < estimate.value < estimate.high


def test_vocabularies_must_match(tiny, models, tokenizer, documents):
    with pytest.raises(CoderError, match="300 tokens and the reference 265"):
        divergence(tiny.model(vocab_size=300), models[0], tokenizer, documents)


def test_context_must_suit_both(tiny, models, tokenizer, documents):
    short = tiny.model(max_position_embeddings=32)
    with pytest.raises(UsageError, match="at most 32"):
        divergence(short, models[0], tokenizer, documents, context=40)


def test_no_figure_from_damaged_weights(tiny, models, tokenizer, documents):
    broken = tiny.model()
    broken.lm_head.weight.data[7] = float("nan")
    with pytest.raises(CoderError, match="the model"):
        divergence(broken, models[0], tokenizer, documents)
