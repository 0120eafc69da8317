"""Latent-variable models: distributions against torch's own, layers, load and save at 16 and k bits."""

import math

import pytest
import torch

from kbit.errors import ModelError, UsageError
from kbit.models import load, open_model, stored_bits
from kbit.models.latent import LatentConfig, LatentModel, is_latent
from kbit.models.latent.normal import Normal, Prior
from kbit.models.latent.sampling import sample
from kbit.models.latent.walk import between
from kbit.quantize import quantize_model

SIZES = {"vocab_size": 512, "hidden_size": 32, "num_hidden_layers": 2, "encoder_layers": 1,
         "num_attention_heads": 2, "intermediate_size": 64, "latent_size": 8,
         "max_position_embeddings": 16}  # fmt: skip


def model_of(**changes) -> LatentModel:
    torch.manual_seed(0)
    return LatentModel(LatentConfig(**{**SIZES, **changes})).eval()


def normals(texts=5, latent=4):
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(texts, latent, generator=generator)
    return Normal(mean=mean, log_variance=torch.randn(texts, latent, generator=generator))


def test_the_kl_and_the_density_are_those_of_torch():
    q = normals()
    theirs = torch.distributions.Normal(q.mean, torch.exp(q.log_variance / 2))
    standard = torch.distributions.Normal(torch.zeros(4), torch.ones(4))
    assert torch.allclose(q.kl_to_standard(), torch.distributions.kl_divergence(theirs, standard), atol=1e-6)
    z = q.sample(torch.Generator().manual_seed(2), draws=3)
    assert z.shape == (3, 5, 4)
    assert torch.allclose(q.log_density(z), theirs.log_prob(z).sum(-1), atol=1e-5)
    assert torch.allclose(Prior(4, 1).log_density(z), standard.log_prob(z).sum(-1), atol=1e-5)


def test_a_mixture_prior_is_that_of_torch_and_its_draws_follow_it():
    prior = Prior(2, 3)
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.0, 1.0, -1.0]))
        prior.means.copy_(torch.tensor([[-4.0, 0.0], [4.0, 1.0], [0.0, 9.0]]))
        prior.log_variances.copy_(torch.full((3, 2), math.log(0.25)))
    parts = torch.distributions.Independent(torch.distributions.Normal(prior.means, 0.5), 1)
    theirs = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=prior.logits), parts
    )
    drawn = prior.sample(20_000, torch.Generator().manual_seed(0))
    assert torch.allclose(prior.log_density(drawn), theirs.log_prob(drawn), atol=1e-4)
    assert torch.allclose(drawn.mean(0), theirs.mean, atol=0.08)
    assert torch.allclose(drawn.var(0), theirs.variance, rtol=0.05)


@pytest.mark.parametrize("cell", ["transformer", "lstm"])
def test_padding_changes_nothing_and_no_token_sees_a_later_one(cell):
    model = model_of(cell=cell)
    ids = torch.randint(0, 512, (2, 9), generator=torch.Generator().manual_seed(3))
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, 6:] = False
    longer = torch.cat([ids, torch.zeros(2, 4, dtype=torch.int64)], dim=1)
    wider = torch.cat([mask, torch.zeros(2, 4, dtype=torch.bool)], dim=1)
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        short, long = model.posterior(ids, mask), model.posterior(longer, wider)
        assert torch.allclose(short.mean, long.mean, atol=1e-6)
        changed = ids.clone()
        changed[:, 6:] = 7
        alone, other = model.decode(ids, z)[0], model.decode(changed, z)[0]
    assert torch.allclose(alone[:, :6], other[:, :6], atol=1e-6)
    assert not torch.allclose(alone[:, 6:], other[:, 6:])


def test_the_lstm_is_that_of_torch():
    model = model_of(cell="lstm", latent_size=0)
    layer = model.decoder.layers[0]
    theirs = torch.nn.LSTM(32, 32, batch_first=True)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(layer.input_proj.weight)
        theirs.weight_hh_l0.copy_(layer.state_proj.weight)
        theirs.bias_ih_l0.copy_(layer.input_proj.bias)
        theirs.bias_ih_l0[32:64] += 1.0  # the forget gate begins open
        theirs.bias_hh_l0.zero_()
        x = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(5))
        zero = torch.zeros(2, 32)
        ours, (h, c) = layer(x, (zero, zero))
        expected, (last_h, last_c) = theirs(x)
    assert torch.allclose(ours, expected, atol=1e-6)
    assert torch.allclose(h, last_h[0], atol=1e-6)
    assert torch.allclose(c, last_c[0], atol=1e-6)


@pytest.mark.parametrize("cell", ["transformer", "lstm"])
def test_token_by_token_is_the_same_as_all_at_once(cell):
    model = model_of(cell=cell)
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(4))
    made = sample(model, z, texts=3, begin=0, end=1, generator=torch.Generator().manual_seed(6))
    for row, tokens in enumerate(made.tokens):
        ids = torch.tensor([[0, *tokens]])
        with torch.no_grad():
            logits = model.lm_head(model.decode(ids, z[row : row + 1])[0]).float()
        bits = -torch.log_softmax(logits[0], dim=-1) / math.log(2)
        told = torch.tensor(made.model_bits[row][: len(tokens)])
        assert torch.allclose(bits[torch.arange(len(tokens)), torch.tensor(tokens)], told, atol=1e-4)
    assert made.decoding_bits == made.model_bits


def test_greedy_texts_repeat_and_a_negative_temperature_is_refused():
    model = model_of(latent_size=0)
    twice = [sample(model, None, texts=1, begin=0, end=1, temperature=0.0).tokens for _ in range(2)]
    assert twice[0] == twice[1]
    with pytest.raises(UsageError, match="temperature"):
        sample(model, None, texts=1, begin=0, end=1, temperature=-1.0)


@pytest.mark.parametrize(("cell", "components"), [("transformer", 1), ("lstm", 3)])
def test_a_folder_loads_and_goes_to_k_bits(tmp_path, cell, components):
    model = model_of(cell=cell, prior_components=components)
    model.to(torch.bfloat16).save_pretrained(tmp_path / "dense")
    quantize_model(tmp_path / "dense", tmp_path / "packed", format="nf4:b32")
    dense = load(tmp_path / "dense", dtype=torch.float32)
    packed = load(tmp_path / "packed", dtype=torch.float32)
    assert is_latent(dense)
    assert is_latent(packed)
    names = set(open_model(tmp_path / "packed").records)
    assert "posterior_proj" in names
    assert "condition_proj" in names
    assert not {"embedding", "lm_head", "positions"} & names
    assert stored_bits(tmp_path / "packed").body < stored_bits(tmp_path / "dense").body / 3
    ids = torch.randint(0, 512, (2, 9), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        exact, coded = dense(ids).logits, packed(ids).logits
    assert 0 < (exact - coded).norm() / exact.norm() < 0.5
    if components > 1:
        assert torch.equal(dense.prior.means, packed.prior.means)


def test_a_walk_has_its_ends():
    path = between(torch.zeros(3), torch.ones(3), 5)
    assert path.shape == (5, 3)
    assert torch.equal(path[0], torch.zeros(3))
    assert torch.equal(path[-1], torch.ones(3))
    assert torch.allclose(path[2], torch.full((3,), 0.5))


@pytest.mark.parametrize(
    ("change", "named"),
    [({"cell": "gru"}, "gru"), ({"latent_size": -1}, "latent_size"), ({"num_attention_heads": 3}, "divisor"),
     ({"pieces": "word"}, "sentence"), ({"prior_components": 0}, "prior_components")],
)  # fmt: skip
def test_sizes_out_of_range_are_refused(change, named):
    with pytest.raises(ModelError, match=named):
        LatentConfig(**{**SIZES, **change})
