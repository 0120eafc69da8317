"""The recipe of a latent-variable model: text, sizes, schedule, and variants trained beside each other."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from kbit.errors import ModelError, TrainingError
from kbit.models.latent import LatentConfig
from kbit.training.reading import build_part
from kbit.training.recipe import TokenizerPart, TrainingPart

ANNEALING = ("none", "linear", "cyclical")


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentText:
    """Where the text comes from, and how much of it is used.

    `separator` cuts each document read into several (a file of many stories). Of documents,
    `held_out_share` are held out by hash of their names.
    """

    paths: tuple[str, ...]
    field: str = "text"
    separator: str | None = None
    held_out_share: float = 0.1
    training_documents: int | None = None
    held_out_documents: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentSizes:
    """Sizes that variants share; see `LatentConfig`."""

    cell: str = "transformer"
    hidden: int = 128
    layers: int = 2
    encoder_layers: int = 2
    heads: int = 4
    intermediate: int = 352
    latent: int = 32
    prior_components: int = 1
    context: int = 48
    pieces: str = "sentence"


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentTraining:
    """Optimiser and schedule."""

    steps: int
    batch_texts: int = 64
    learning_rate: float = 2e-3
    warmup_share: float = 0.03
    decay_share: float = 0.4
    weight_decay: float = 0.01
    beta2: float = 0.98
    clip_norm: float = 1.0
    checkpoint_steps: int = 200

    def part(self, hidden: int) -> TrainingPart:
        """As pre-training's optimiser and schedule read it."""
        return TrainingPart(
            learning_rate=self.learning_rate,
            reference_hidden=hidden,
            warmup_share=self.warmup_share,
            decay_share=self.decay_share,
            weight_decay=self.weight_decay,
            beta2=self.beta2,
            clip_norm=self.clip_norm,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """On held-out text: pieces looked at, and draws of z for the importance-weighted bound."""

    texts: int = 1000
    samples: int = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One way to train, against posterior collapse or not.

    Attributes:
        name: of the folder.
        latent, layers: in place of the shared sizes; `latent` 0 is a plain language model.
        annealing: weight of the KL term: `none` (1 throughout), `linear` (Bowman et al. 2016) or `cyclical`
            (Fu et al. 2019).
        annealing_share: of the steps until the weight first stays 1; of all cycles together.
        cycles: of cyclical annealing; in each the weight rises for the first half.
        free_nats: of each dimension, below which its KL is not pressed (Kingma et al. 2016, equation 15).
        word_dropout: share of the decoder's input tokens that are hidden from it (Bowman et al. 2016).
        autoencoder_share: of the steps, at the beginning, without noise and KL (Li et al. 2019).
        reset_decoder: begin with a new decoder after them, as Li et al. do.
        kl_weight: in the end; 1 is the bound itself.
    """

    name: str
    latent: int | None = None
    layers: int | None = None
    annealing: str = "none"
    annealing_share: float = 0.5
    cycles: int = 4
    free_nats: float = 0.0
    word_dropout: float = 0.0
    autoencoder_share: float = 0.0
    reset_decoder: bool = True
    kl_weight: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class GanPart:
    """Adversarial training of a generator pre-trained by maximum likelihood (SeqGAN, Yu et al. 2017).

    Attributes:
        steps: of the generator.
        batch_texts: sequences a step.
        discriminator_texts: human texts of a discriminator's step, and as many generated; 0: `batch_texts`.
        discriminator_steps: for each of the generator's.
        discriminator_pretraining: steps before the first.
        rollouts: completions drawn for each place that is judged.
        rollout_every: tokens between judged places.
        learning_rate, discriminator_learning_rate: constant.
        baseline: subtract a learnt value of each place from its reward.
        entropy_weight: of a bonus for the entropy of the next token, in nats; 0 for none.
        samples: texts generated in the end, for each seed and temperature.
        temperatures: of the maximum-likelihood generator, whose sweep stands beside the GAN.
    """

    steps: int = 100
    batch_texts: int = 32
    discriminator_texts: int = 0
    discriminator_steps: int = 2
    discriminator_pretraining: int = 100
    rollouts: int = 2
    rollout_every: int = 4
    learning_rate: float = 1e-4
    discriminator_learning_rate: float = 1e-3
    baseline: bool = True
    entropy_weight: float = 0.0
    samples: int = 200
    temperatures: tuple[float, ...] = (0.5, 0.7, 0.85, 1.0, 1.15)


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentRecipe:
    """Everything that decides the weights, but for the versions of the libraries and the text itself."""

    name: str
    text: LatentText
    training: LatentTraining
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...] = (1,)
    tokenizer: TokenizerPart = field(default_factory=TokenizerPart)
    model: LatentSizes = LatentSizes()
    evaluation: Evaluation = Evaluation()
    gan: GanPart = GanPart()

    def config(self, variant: Variant) -> LatentConfig:
        """The model of a variant.

        Raises:
            ModelError: a size out of range.
        """
        sizes = self.model
        return LatentConfig(
            vocab_size=self.tokenizer.vocabulary,
            hidden_size=sizes.hidden,
            num_hidden_layers=sizes.layers if variant.layers is None else variant.layers,
            encoder_layers=sizes.encoder_layers,
            num_attention_heads=sizes.heads,
            intermediate_size=sizes.intermediate,
            latent_size=sizes.latent if variant.latent is None else variant.latent,
            prior_components=sizes.prior_components,
            cell=sizes.cell,
            pieces=sizes.pieces,
            max_position_embeddings=sizes.context,
        )


_PARTS: Mapping[str, type[Any]] = {
    "text": LatentText,
    "training": LatentTraining,
    "tokenizer": TokenizerPart,
    "model": LatentSizes,
    "evaluation": Evaluation,
    "gan": GanPart,
}
EXAMPLE = "recipes/latent/tinystories-vae.toml"


def read_latent_recipe(path: Path | str) -> LatentRecipe:
    """Read and check a recipe. Paths of texts begin where the command is called, as in other recipes.

    Raises:
        TrainingError: the file is missing, is no TOML, or a key or value is wrong.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingError(f"no such recipe: {path}. One that works is {EXAMPLE}.") from error
    except OSError as error:
        raise TrainingError(f"the recipe {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not TOML: {error}.") from error
    values: dict[str, Any] = {
        key: build_part(_PARTS[key], value, f"{path} [{key}]") if key in _PARTS else value
        for key, value in table.items()
        if key != "variants"
    }
    rows = table.get("variants", [{"name": "vae"}])
    if not isinstance(rows, list) or not rows:
        names = ", ".join(field_.name for field_ in fields(Variant))
        raise TrainingError(f"{path}: variants must be [[variants]] tables with {names}.")
    values["variants"] = tuple(
        build_part(Variant, row, f"{path} [[variants]] {i}") for i, row in enumerate(rows, 1)
    )
    recipe = build_part(LatentRecipe, values, str(path))
    _check(recipe, path)
    return recipe


def _check(recipe: LatentRecipe, path: Path) -> None:
    text, training, gan = recipe.text, recipe.training, recipe.gan
    rules = [
        (bool(text.paths), "text.paths", list(text.paths), "one path or more"),
        (0 < text.held_out_share < 1, "text.held_out_share", text.held_out_share, "between 0 and 1"),
        (text.separator != "", "text.separator", text.separator, "some characters, or left out"),
        (
            recipe.tokenizer.vocabulary >= 512,
            "tokenizer.vocabulary",
            recipe.tokenizer.vocabulary,
            "512 or more",
        ),
        (training.steps > 0, "training.steps", training.steps, "1 or more"),
        (training.batch_texts > 0, "training.batch_texts", training.batch_texts, "1 or more"),
        (training.learning_rate > 0, "training.learning_rate", training.learning_rate, "above 0"),
        (0 <= training.warmup_share < 1, "training.warmup_share", training.warmup_share, "in [0, 1)"),
        (
            0 <= training.decay_share <= 1 - training.warmup_share,
            "training.decay_share",
            training.decay_share,
            "from 0 to 1 - warmup_share",
        ),
        (training.clip_norm > 0, "training.clip_norm", training.clip_norm, "above 0"),
        (training.checkpoint_steps > 0, "training.checkpoint_steps", training.checkpoint_steps, "1 or more"),
        (recipe.evaluation.texts > 0, "evaluation.texts", recipe.evaluation.texts, "1 or more"),
        (recipe.evaluation.samples > 0, "evaluation.samples", recipe.evaluation.samples, "1 or more"),
        (
            bool(recipe.seeds) and len(set(recipe.seeds)) == len(recipe.seeds) and min(recipe.seeds) >= 0,
            "seeds",
            list(recipe.seeds),
            "different numbers, 0 or more",
        ),
        (
            len({variant.name for variant in recipe.variants}) == len(recipe.variants),
            "variants",
            [variant.name for variant in recipe.variants],
            "of different names",
        ),
        (
            min(gan.steps, gan.batch_texts, gan.rollouts, gan.rollout_every, gan.samples) > 0
            and min(gan.discriminator_texts, gan.discriminator_steps, gan.discriminator_pretraining) >= 0,
            "a number of [gan]",
            gan,
            "above 0",
        ),
        (
            bool(gan.temperatures) and min(gan.temperatures) > 0,
            "gan.temperatures",
            list(gan.temperatures),
            "above 0",
        ),
    ]
    for variant in recipe.variants:
        name = f"variant {variant.name}"
        mixed = recipe.model.prior_components > 1
        rules += [
            (
                bool(variant.name) and "/" not in variant.name and not variant.name.startswith("."),
                "a variant's name",
                variant.name,
                "a folder's name",
            ),
            (variant.annealing in ANNEALING, f"{name}: annealing", variant.annealing, " or ".join(ANNEALING)),
            (
                0 < variant.annealing_share <= 1,
                f"{name}: annealing_share",
                variant.annealing_share,
                "in (0, 1]",
            ),
            (variant.cycles > 0, f"{name}: cycles", variant.cycles, "1 or more"),
            (variant.free_nats >= 0, f"{name}: free_nats", variant.free_nats, "0 or more"),
            (
                not (variant.free_nats and mixed),
                f"{name}: free_nats",
                variant.free_nats,
                "0 where prior_components is above 1: the KL to a mixture is no sum over dimensions",
            ),
            (0 <= variant.word_dropout < 1, f"{name}: word_dropout", variant.word_dropout, "in [0, 1)"),
            (
                0 <= variant.autoencoder_share < 1,
                f"{name}: autoencoder_share",
                variant.autoencoder_share,
                "in [0, 1)",
            ),
            (variant.kl_weight > 0, f"{name}: kl_weight", variant.kl_weight, "above 0"),
        ]
    for holds, key, given, allowed in rules:
        if not holds:
            raise TrainingError(f"{path}: {key} is {given!r}; it must be {allowed}.")
    for variant in recipe.variants:
        try:
            recipe.config(variant)
        except ModelError as error:
            raise TrainingError(f"{path}: variant {variant.name}: {error}") from error
