"""Training of latent-variable models: schedules, resuming, figures with known answers, policy gradients."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kbit.errors import TrainingError
from kbit.models import load
from kbit.models.latent import LatentConfig, LatentModel
from kbit.models.latent.normal import Normal
from kbit.training.latent import read_latent_recipe, train_vae
from kbit.training.latent.evaluate import active_units, mutual_information
from kbit.training.latent.gan import Adversaries, train_gan
from kbit.training.latent.objective import kl_weight, vae_terms
from kbit.training.latent.pieces import prepare_pieces
from kbit.training.latent.policy import Rollout, policy_loss, roll_out
from kbit.training.latent.recipe import Variant

RECIPE = """
name = "tiny"
seeds = [3]
[text]
paths = ["{text}"]
held_out_share = 0.2
[tokenizer]
vocabulary = 512
[model]
cell = "{cell}"
hidden = 16
layers = 1
encoder_layers = 1
heads = 2
intermediate = 32
latent = 4
context = 20
[training]
steps = {steps}
batch_texts = 8
checkpoint_steps = 3
[evaluation]
texts = 24
samples = 4
[gan]
steps = 2
discriminator_pretraining = 2
batch_texts = 6
rollouts = 1
rollout_every = 8
samples = 12
temperatures = [0.7, 1.0, 1.3]
"""


@pytest.fixture
def recipe_file(tmp_path, make_text):
    def write(*, steps=7, cell="transformer", extra="") -> Path:
        file = tmp_path / "recipe.toml"
        file.write_text(RECIPE.format(text=make_text(tmp_path), steps=steps, cell=cell) + extra)
        return file

    return write


VARIANT = """
[[variants]]
name = "remedied"
annealing = "cyclical"
free_nats = 0.1
word_dropout = 0.2
autoencoder_share = 0.3
"""


def test_a_killed_run_has_the_losses_of_one_left_alone(recipe_file, tmp_path):
    recipe = read_latent_recipe(recipe_file(extra=VARIANT))
    [whole] = train_vae(recipe, tmp_path / "whole")

    class KilledError(Exception):
        pass

    def kill(step):
        if step.step == 4:
            raise KilledError

    with pytest.raises(KilledError):
        train_vae(recipe, tmp_path / "resumed", report=kill)
    [resumed] = train_vae(recipe, tmp_path / "resumed")
    logs = [
        (tmp_path / name / "runs" / "remedied" / "log.jsonl").read_text() for name in ("whole", "resumed")
    ]
    assert logs[0] == logs[1]
    assert len(logs[0].splitlines()) == 7
    assert replace(whole.figures) == resumed.figures
    assert train_vae(recipe, tmp_path / "whole")[0].figures == whole.figures  # nothing is trained twice


def test_a_variant_is_its_seed_and_a_changed_recipe_is_refused(recipe_file, tmp_path):
    recipe = read_latent_recipe(recipe_file(steps=3))
    recipe = replace(recipe, seeds=(1, 2))
    first, second = train_vae(recipe, tmp_path / "out")
    assert (first.name, second.name) == ("vae-seed-1", "vae-seed-2")
    assert first.figures.bits_per_byte != second.figures.bits_per_byte
    other = replace(recipe, training=replace(recipe.training, learning_rate=1e-3))
    with pytest.raises(TrainingError, match="another recipe"):
        train_vae(other, tmp_path / "out")
    with pytest.raises(TrainingError, match="did you mean 'vae'"):
        train_vae(recipe, tmp_path / "out", only=["vea"])


def test_batches_follow_from_seed_and_step_and_hold_every_piece(recipe_file, tmp_path):
    recipe = read_latent_recipe(recipe_file())
    pieces = prepare_pieces(recipe, tmp_path / "out")
    ids, mask = pieces.batch(step=5, texts=8, seed=1)
    again, _ = pieces.batch(step=5, texts=8, seed=1)
    assert torch.equal(ids, again)
    assert not torch.equal(ids, pieces.batch(step=5, texts=8, seed=2)[0])
    assert (ids[:, 0] == pieces.begin).all()
    assert (ids.gather(1, mask.sum(1, keepdim=True) - 1) == pieces.end).all()
    per_epoch = len(pieces.training) // (8 * 16) * 16
    seen = sum(int(pieces.batch(step=step, texts=8, seed=1)[1].sum()) for step in range(per_epoch))
    every = sum(len(piece.ids) + 2 for piece in pieces.training)
    assert 0.85 * every < seen <= every


def test_the_loss_is_rate_and_distortion(recipe_file, tmp_path):
    recipe = read_latent_recipe(recipe_file())
    pieces = prepare_pieces(recipe, tmp_path / "out")
    torch.manual_seed(0)
    model = LatentModel(recipe.config(recipe.variants[0]))
    ids, mask = pieces.batch(step=0, texts=8, seed=1)
    plain = Variant(name="plain")

    def terms(variant):
        torch.manual_seed(1)
        return vae_terms(model, ids, mask, variant, step=5, steps=10, hidden_token=0)

    found = terms(plain)
    tokens = int(mask[:, 1:].sum())
    expected = (found.distortion + found.rate) * len(ids) / tokens
    assert float(found.loss) == pytest.approx(expected, rel=1e-5)
    pressed = terms(replace(plain, free_nats=0.5))  # above every dimension's KL: four of them at 0.5
    assert float(pressed.loss) == pytest.approx((found.distortion + 4 * 0.5) * len(ids) / tokens, rel=1e-5)
    halved = terms(replace(plain, kl_weight=0.5))
    assert float(halved.loss) == pytest.approx(
        (found.distortion + found.rate / 2) * len(ids) / tokens, rel=1e-5
    )
    hidden = terms(replace(plain, word_dropout=0.5))
    assert hidden.rate == pytest.approx(found.rate)
    assert hidden.distortion != pytest.approx(found.distortion, rel=1e-6)


def test_an_autoencoder_has_no_weight_on_its_rate():
    variant = Variant(name="a", autoencoder_share=0.5, annealing="linear", annealing_share=1.0)
    assert [kl_weight(variant, step, 20) for step in (0, 9, 10, 15)] == [0.0, 0.0, 0.0, 0.5]


def test_active_units_and_mutual_information_of_known_channels():
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(4000, 6, generator=generator) * torch.tensor([1.0, 0.5, 0.2, 0.05, 0.01, 0.0])
    assert active_units(means) == 3  # variances 1, .25, .04, .0025, .0001 and 0 against 0.01
    # A Gaussian channel z = m + noise with m ~ N(0, s^2): I = 1/2 log(1 + s^2 / noise^2) in each dimension.
    signal = torch.randn(2000, 2, generator=generator) * torch.tensor([2.0, 1.0])
    posterior = Normal(mean=signal, log_variance=torch.full((2000, 2), math.log(0.25)))
    exact = (math.log(1 + 4 / 0.25) + math.log(1 + 1 / 0.25)) / 2
    assert mutual_information(posterior, generator) == pytest.approx(exact, abs=0.08)
    silent = Normal(mean=torch.zeros(500, 2), log_variance=torch.zeros(500, 2))
    assert mutual_information(silent, generator) == pytest.approx(0.0, abs=1e-5)


def test_the_policy_gradient_is_the_exact_one():
    """Over all texts of two symbols, weighted by their probability, the estimate is the gradient itself."""
    torch.manual_seed(0)
    model = LatentModel(
        LatentConfig(
            vocab_size=3,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=8,
            latent_size=0,
            max_position_embeddings=4,
        )
    )
    rewards = torch.rand(3, 3, generator=torch.Generator().manual_seed(1))
    texts = torch.tensor([[0, a, b] for a in range(3) for b in range(3)])

    def log_p(ids):
        logits = model.lm_head(model.decode(ids[:, :-1], None)[0]).log_softmax(-1)
        return logits.gather(2, ids[:, 1:, None])[..., 0]

    expected = (log_p(texts).sum(1).exp() * rewards.flatten()).sum()
    exact = torch.autograd.grad(expected, model.lm_head.weight)[0]
    probability = log_p(texts).sum(1).exp().detach()
    for baseline in (None, torch.rand(1, 2).expand(9, 2)):
        total = torch.zeros_like(exact)
        for row in range(9):
            # What a place is worth once its token is chosen: for the first, the mean over what may follow.
            same = texts[:, 1] == texts[row, 1]
            after = (probability * rewards.flatten())[same].sum() / probability[same].sum()
            values = torch.stack([after, rewards.flatten()[row]])[None]
            rolled = Rollout(ids=texts[row : row + 1], mask=torch.ones(1, 3, dtype=torch.bool), values=values)
            loss = policy_loss(model, rolled, None if baseline is None else baseline[:1])
            total -= probability[row] * torch.autograd.grad(loss, model.lm_head.weight)[0]
        assert torch.allclose(total, exact, atol=1e-6)


def test_roll_outs_value_a_place_by_what_follows_it():
    torch.manual_seed(0)
    model = LatentModel(
        LatentConfig(
            vocab_size=5,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            cell="lstm",
            intermediate_size=8,
            latent_size=0,
            max_position_embeddings=10,
        )
    )

    def judge(ids, mask):  # the share of 3s in a text's first four places: known from place 5 on
        return (ids[:, 1:5] == 3).float().mean(dim=1)

    rolled = roll_out(model, judge, texts=64, begin=0, end=4, rollouts=64, every=4)
    assert rolled.values.shape == (64, rolled.ids.shape[1] - 1)
    whole = rolled.mask[:, 5]
    own = judge(rolled.ids, rolled.mask)
    assert torch.allclose(rolled.values[whole][:, :4], own[whole][:, None].expand(-1, 4), atol=1e-6)


def test_a_discriminator_begins_with_what_the_generator_knows():
    torch.manual_seed(0)
    config = LatentConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, encoder_layers=1, num_attention_heads=1,
        cell="lstm", intermediate_size=8, latent_size=0, max_position_embeddings=10,
    )  # fmt: skip
    generator = LatentModel(config)
    both = Adversaries(generator)
    both.discriminator.head = torch.nn.Identity()
    ids = torch.randint(0, 9, (2, 7), generator=torch.Generator().manual_seed(1))
    read = generator.decode(ids, None)[0].mean(dim=1)
    assert torch.allclose(
        both.discriminator(ids, torch.ones_like(ids, dtype=torch.bool)), read[:, 0], atol=1e-6
    )
    # Its own copy: what it learns moves no generator.
    assert both.discriminator.embedding.weight.data_ptr() != generator.embedding.weight.data_ptr()
    deeper = LatentConfig(**{**config.to_dict(), "encoder_layers": 2})
    assert len(Adversaries(LatentModel(deeper)).discriminator.encoder.layers) == 2


@pytest.mark.parametrize("cell", ["lstm", "transformer"])
def test_a_gan_trains_and_resumes(recipe_file, tmp_path, cell):
    recipe = read_latent_recipe(recipe_file(steps=3, cell=cell))

    class KilledError(Exception):
        pass

    def kill(step):
        if step.step == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train_gan(recipe, tmp_path / "resumed", report_gan=kill)
    [resumed] = train_gan(recipe, tmp_path / "resumed")
    [whole] = train_gan(recipe, tmp_path / "whole")
    logs = [(tmp_path / n / "runs" / "adversarial" / "log.jsonl").read_text() for n in ("whole", "resumed")]
    assert logs[0] == logs[1]
    assert json.loads(logs[0].splitlines()[-1])["reward"] > 0
    files = [folder / "model.safetensors" for folder in (whole.adversarial, resumed.adversarial)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != (whole.maximum_likelihood / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ('[[variants]]\nname = "a"\nannealing = "slow"', "cyclical"),
        ('[[variants]]\nname = "a"\nword_dropout = 1.0', "word_dropout"),
        ('[[variants]]\nname = "a/b"', "folder"),
        ('[[variants]]\nname = "a"\n[[variants]]\nname = "a"', "different names"),
        ('[[variants]]\nname = "a"\nfree_bits = 1.0', "free_bits"),
    ],
)
def test_a_wrong_recipe_is_named(recipe_file, extra, named):
    with pytest.raises(TrainingError, match=named):
        read_latent_recipe(recipe_file(extra=extra))


def test_a_mixture_prior_is_trained_and_measured(recipe_file, tmp_path):
    file = recipe_file(steps=12, extra='[[variants]]\nname = "mixed"\nannealing = "linear"')
    file.write_text(file.read_text().replace("latent = 4", "latent = 4\nprior_components = 3"))
    recipe = read_latent_recipe(file)
    [trained] = train_vae(recipe, tmp_path / "out")
    torch.manual_seed(3)
    first, last = LatentModel(recipe.config(recipe.variants[0])), load(trained.folder, dtype=torch.float32)
    assert last.prior.means.shape == (3, 4)
    assert (last.prior.means - first.prior.means).abs().max() > 0.005  # beyond what 16 bits round
    figures = trained.figures
    assert figures.bits_per_byte <= figures.elbo_bits_per_byte
    assert figures.rate_nats > 0
    assert figures.reconstruction_bleu is not None or "bleu" in figures.reason


def test_the_rate_to_a_mixture_of_standard_normals_is_that_to_one(recipe_file, tmp_path):
    recipe = read_latent_recipe(recipe_file())
    pieces = prepare_pieces(recipe, tmp_path / "out")
    variant = recipe.variants[0]
    torch.manual_seed(0)
    one = LatentModel(recipe.config(variant))
    one.posterior_proj.bias.data.copy_(torch.tensor([0.5, -1.0, 0.0, 2.0, -1.0, 0.5, 0.0, -0.5]))
    mixed = LatentModel(replace(recipe, model=replace(recipe.model, prior_components=3)).config(variant))
    mixed.load_state_dict(one.state_dict(), strict=False)
    for parameter in (mixed.prior.means, mixed.prior.log_variances):
        parameter.data.zero_()
    ids, mask = pieces.batch(step=0, texts=8, seed=1)
    with torch.no_grad():
        found = [
            vae_terms(model, ids, mask, variant, step=5, steps=10, hidden_token=0).rate
            for model in [one] + [mixed] * 400
        ]
    assert sum(found[1:]) / 400 == pytest.approx(found[0], rel=0.02)


def test_free_bits_do_not_go_with_a_mixture(recipe_file):
    file = recipe_file(extra='[[variants]]\nname = "a"\nfree_nats = 0.1')
    file.write_text(file.read_text().replace("latent = 4", "latent = 4\nprior_components = 3"))
    with pytest.raises(TrainingError, match="mixture"):
        read_latent_recipe(file)
    file.write_text(file.read_text().replace("free_nats = 0.1", ""))
    assert read_latent_recipe(file).model.prior_components == 3
