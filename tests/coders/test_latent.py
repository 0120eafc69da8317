"""Bounds of latent-variable models: closed forms on a linear-Gaussian model, and true codes."""

import math
import random

import pytest
import torch
from torch import nn

from kbit.coders import Coder, LanguageModelCoder
from kbit.coders.latent import LatentCoder, bound, reconstruction_nats
from kbit.coders.of_model import coder_of
from kbit.coders.pieces import batch_of, pieces_of, split_text
from kbit.corpus import Document
from kbit.errors import UsageError
from kbit.models.latent import LatentConfig, LatentModel
from kbit.models.latent.normal import Normal, Prior
from kbit.training.tokenizer import train_tokenizer

_RANDOM = random.Random(1)
_WORDS = ["".join(_RANDOM.choices("abcdefghijklmnoprstuvw", k=_RANDOM.randint(2, 8))) for _ in range(300)]
TEXT = "".join(f"{' '.join(_RANDOM.choices(_WORDS, k=6))}{end}" for end in [". ", "! ", ".\n", "你好。"] * 60)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([Document(name="a", text=TEXT)], vocabulary=512)


def model_of(**changes) -> LatentModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": 512, "hidden_size": 32, "num_hidden_layers": 1, "encoder_layers": 1,
             "num_attention_heads": 2, "intermediate_size": 48, "latent_size": 6,
             "max_position_embeddings": 24}  # fmt: skip
    return LatentModel(LatentConfig(**{**sizes, **changes})).eval()


class LinearGaussian(nn.Module):
    """x = W z + noise: everything `bound` asks of a model, with log p(x | z) a normal density.

    p(x) is N(0, W W^T + s^2 I), and the true posterior N(A x, S) is known (Bishop 2006, section 2.3.3), so
    the evidence lower bound of any normal q and the exact log-likelihood are closed forms. A `piece` is the
    index of a point: its tokens are [begin, index, end].
    """

    latent_size = 3

    def __init__(self, *, shift: float, scale: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.w = torch.randn(5, 3, generator=generator, dtype=torch.float64)
        self.noise = 0.7
        z = torch.randn(40, 3, generator=generator, dtype=torch.float64)
        self.x = z @ self.w.T + self.noise * torch.randn(40, 5, generator=generator, dtype=torch.float64)
        precision = torch.eye(3, dtype=torch.float64) + self.w.T @ self.w / self.noise**2
        self.covariance = torch.linalg.inv(precision)
        self.mean = self.x @ self.w @ self.covariance.T / self.noise**2
        self.prior = Prior(3, 1)
        self.shift, self.scale = shift, scale
        self.points = torch.empty(0, dtype=torch.int64)

    def posterior(self, ids, mask):
        index = ids[:, 1]
        variance = self.covariance.diagonal() * self.scale
        mean = self.mean[index] + self.shift
        return Normal(mean=mean, log_variance=variance.log().expand_as(mean))

    def nats(self, ids, mask, z):
        residual = self.x[ids[:, 1]] - z @ self.w.T
        return (residual.square().sum(-1) / self.noise**2 + 5 * math.log(2 * math.pi * self.noise**2)) / 2

    def exact(self):
        covariance = self.w @ self.w.T + self.noise**2 * torch.eye(5, dtype=torch.float64)
        normal = torch.distributions.MultivariateNormal(torch.zeros(5, dtype=torch.float64), covariance)
        return -normal.log_prob(self.x)

    def elbo(self, ids, mask):
        """E_q[-log p(x | z)] + KL(q || p), in closed form."""
        q = self.posterior(ids, mask)
        expected = self.nats(ids, mask, q.mean)
        spread = (q.log_variance.exp() * (self.w**2).sum(0)).sum(-1) / self.noise**2 / 2
        return expected + spread + q.kl_to_standard().sum(-1)


@pytest.fixture
def toy(monkeypatch):
    model = LinearGaussian(shift=0.3, scale=1.5)
    monkeypatch.setattr(
        "kbit.coders.latent.reconstruction_nats", lambda m, ids, mask, z: m.nats(ids, mask, z)
    )
    ids = torch.stack([torch.zeros(40), torch.arange(40), torch.ones(40)], dim=1).long()
    return model, ids, torch.ones_like(ids, dtype=torch.bool)


def test_the_elbo_is_its_closed_form(toy):
    model, ids, mask = toy
    found = bound(model, ids, mask, samples=5_000, generator=torch.Generator().manual_seed(1))
    expected = model.elbo(ids, mask)
    assert torch.allclose(found.elbo, expected, rtol=0.01)
    assert float((found.elbo - expected).mean().abs()) < 0.02


def test_the_importance_weighted_bound_rises_to_the_exact_likelihood(toy):
    model, ids, mask = toy
    exact = model.exact().mean()
    generator = torch.Generator().manual_seed(2)
    means = []
    for samples, times in ((1, 1000), (4, 300), (16, 100), (64, 60), (512, 15)):
        runs = [
            bound(model, ids, mask, samples=samples, generator=generator).importance_weighted.mean()
            for _ in range(times)
        ]
        means.append(float(torch.stack(runs).mean()))
    assert means == sorted(means, reverse=True)  # in nats of a code: falling is rising log-likelihood
    assert means[0] == pytest.approx(float(model.elbo(ids, mask).mean()), abs=0.02)
    assert means[-1] == pytest.approx(float(exact), abs=0.01)
    assert all(mean > float(exact) - 0.005 for mean in means)


def test_with_the_true_posterior_one_draw_is_exact(monkeypatch):
    model = LinearGaussian(shift=0.0, scale=1.0)
    # The model's own axes: there the true posterior is diagonal, and the bound has no gap for any draw.
    model.w = model.w @ torch.linalg.eigh(model.w.T @ model.w)[1]
    precision = torch.eye(3, dtype=torch.float64) + model.w.T @ model.w / model.noise**2
    model.covariance = torch.linalg.inv(precision)
    model.mean = model.x @ model.w @ model.covariance.T / model.noise**2
    monkeypatch.setattr(
        "kbit.coders.latent.reconstruction_nats", lambda m, ids, mask, z: m.nats(ids, mask, z)
    )
    ids = torch.stack([torch.zeros(40), torch.arange(40), torch.ones(40)], dim=1).long()
    found = bound(model, ids, torch.ones_like(ids, dtype=torch.bool), samples=1)
    assert torch.allclose(found.importance_weighted, model.exact(), atol=1e-6)


def test_a_plain_model_is_a_true_code(tokenizer):
    """Probabilities of all pieces of up to two tokens over three symbols sum to what their lengths leave."""
    model = model_of(latent_size=0, vocab_size=3, max_position_embeddings=4)
    begin, end = 0, 1
    pieces = [(), *[(a,) for a in (0, 2)], *[(a, b) for a in (0, 2) for b in (0, 2)]]
    total = 0.0
    for ids in pieces:
        rows = torch.tensor([[begin, *ids, end]])
        nats = reconstruction_nats(model, rows, torch.ones_like(rows, dtype=torch.bool), None)
        total += math.exp(-float(nats))
    # What is left is what goes on: the probability of three tokens that are not the end.
    longer = 0.0
    with torch.no_grad():
        for ids in [p for p in pieces if len(p) == 2]:
            logits = model.lm_head(model.decode(torch.tensor([[begin, *ids]]), None)[0]).log_softmax(-1)
            path = sum(float(logits[0, i, token]) for i, token in enumerate(ids))
            longer += math.exp(path) * (1 - math.exp(float(logits[0, 2, end])))
    assert total + longer == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("latent", [0, 6])
def test_it_is_a_coder_whose_figures_depend_on_the_document_alone(tokenizer, latent):
    coder = coder_of(model_of(latent_size=latent), tokenizer, name="tiny")
    assert isinstance(coder, Coder)
    documents = [
        Document(name="a", text=TEXT[:200]),
        Document(name="e", text=""),
        Document(name="b", text="é🎉"),
    ]
    together = list(coder.code_lengths(documents))
    apart = [next(iter(coder.code_lengths([d]))) for d in reversed(documents)][::-1]
    assert [c.bits for c in together] == [c.bits for c in apart]
    assert together[1].bits == 0.0
    assert all(c.lossless for c in together)
    assert together[0].tokens > len(pieces_of(documents[0], tokenizer, kind="sentence", longest=22)[0])
    assert together[0].bits > 0


def test_more_draws_are_nearer(tokenizer):
    model = model_of()
    with torch.no_grad():
        model.condition_proj.weight.mul_(40)  # a decoder that listens, so that draws differ
        model.posterior_proj.weight.mul_(40)
    documents = [Document(name=str(i), text=TEXT[40 * i : 40 * i + 120]) for i in range(12)]
    totals = [
        sum(c.bits for c in LatentCoder(model, tokenizer, name="x", samples=k).code_lengths(documents))
        for k in (1, 64)
    ]
    assert totals[1] < totals[0]


def test_pieces_give_the_text_back(tokenizer):
    document = Document(name="a", text=TEXT + " " + "word" * 50)
    parts = split_text(document.text, "sentence")
    assert "".join(parts) == document.text
    assert any(part.endswith("你好。") for part in parts)
    pieces, lost = pieces_of(document, tokenizer, kind="sentence", longest=10)
    assert lost == 0
    assert max(len(piece.ids) for piece in pieces) == 10
    assert tokenizer.decode([i for piece in pieces for i in piece.ids]) == document.text
    assert [p.whole for p in pieces].count(False) > 0
    ids, mask = batch_of(pieces[:3], begin=0, end=1)
    assert ids.shape == mask.shape
    assert mask.sum(1).tolist() == [len(p.ids) + 2 for p in pieces[:3]]


def test_options_that_do_not_fit_are_refused(tokenizer):
    with pytest.raises(UsageError, match="--context"):
        coder_of(model_of(), tokenizer, name="x", context=32)
    with pytest.raises(UsageError, match="at least 1"):
        coder_of(model_of(), tokenizer, name="x", samples=0)
    from transformers import LlamaConfig, LlamaForCausalLM

    plain = LlamaForCausalLM(LlamaConfig(vocab_size=512, hidden_size=16, intermediate_size=16,
                                         num_hidden_layers=1, num_attention_heads=2))  # fmt: skip
    assert isinstance(coder_of(plain, tokenizer, name="x"), LanguageModelCoder)
    with pytest.raises(UsageError, match="--samples"):
        coder_of(plain, tokenizer, name="x", samples=4)
