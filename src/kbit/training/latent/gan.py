"""Adversarial training of a text generator that begins where maximum likelihood ended (SeqGAN)."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from kbit.errors import TrainingError
from kbit.models import load
from kbit.models.latent import LatentModel
from kbit.models.latent.discriminator import Discriminator
from kbit.models.latent.sampling import sample
from kbit.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from kbit.training.export import export_rung, read_record
from kbit.training.latent.pieces import Pieces, prepare_pieces
from kbit.training.latent.policy import policy_loss, roll_out, rows_of
from kbit.training.latent.recipe import LatentRecipe, Variant
from kbit.training.latent.vae import Report, run_hash, train_vae
from kbit.training.log import StepLog
from kbit.training.memory import keep_freed_memory
from kbit.training.run import CHECKPOINT, LOG, DivergedError, alone_in

GENERATOR = Variant(name="maximum-likelihood", latent=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class GanStep:
    """What an adversarial step reports: mean reward of its texts, and what the discriminator gets right."""

    name: str
    step: int
    steps: int
    reward: float
    discriminator_accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedGan:
    """Both generators of one seed, on disk."""

    seed: int
    maximum_likelihood: Path
    adversarial: Path
    wall_s: float


class Adversaries(nn.Module):
    """What adversarial training moves: generator, discriminator, and a value of each place as baseline."""

    def __init__(self, generator: LatentModel) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = Discriminator(generator.config)
        self.discriminator.begin_as(generator)
        self.value = nn.Linear(generator.config.hidden_size, 1)

    def values(self, ids: Tensor) -> Tensor:
        """The expected reward before each token, in (0, 1), [texts, tokens - 1]; moves no generator."""
        with torch.no_grad():
            hidden, _ = self.generator.decode(ids[:, :-1], None)
        out: Tensor = torch.sigmoid(self.value(hidden)[..., 0])
        return out

    def reward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The discriminator's probability that a text is human, [texts]."""
        return torch.sigmoid(self.discriminator(ids, mask))


def train_gan(
    recipe: LatentRecipe,
    out: Path,
    *,
    report: Report | None = None,
    report_gan: Callable[[GanStep], None] | None = None,
) -> list[TrainedGan]:
    """Train a generator by maximum likelihood, then against a discriminator, for every seed.

    What is finished is kept; what was killed goes on from its checkpoint with the same rewards.

    Args:
        recipe: sizes, schedule of the maximum-likelihood part, and `gan`. Its variants are not used.
        out: the folder.
        report: called after each step of the first part.
        report_gan: called after each adversarial step.

    Raises:
        TrainingError: a loss is no number, or a checkpoint or folder is another recipe's.
    """
    keep_freed_memory()
    first = train_vae(replace(recipe, variants=(GENERATOR,)), out, report=report)
    pieces = prepare_pieces(recipe, out)
    return [_finish(recipe, trained.seed, trained.folder, pieces, out, report_gan) for trained in first]


def _finish(
    recipe: LatentRecipe,
    seed: int,
    pretrained: Path,
    pieces: Pieces,
    out: Path,
    report: Callable[[GanStep], None] | None,
) -> TrainedGan:
    name = "adversarial" if len(recipe.seeds) == 1 else f"adversarial-seed-{seed}"
    part = asdict(recipe.gan)
    for key in ("samples", "temperatures"):
        part.pop(key)
    identity = run_hash(recipe, GENERATOR, seed, pieces.text_hash, part)
    record = read_record(out / name) if (out / name).exists() else None
    if (out / name).exists() and (record is None or record.get("run") != identity):
        raise TrainingError(f"{out / name} holds something else. Choose another --out, or remove it.")
    if record is None:
        generator = load(pretrained, dtype=torch.float32)
        wall_s = _train(recipe, seed, generator, pieces, out / "runs" / name, identity, report)
        record = {"run": identity, "recipe": recipe.name, "seed": seed, "wall_s": round(wall_s, 1)}
        export_rung(out / name, model=generator, tokenizer=pieces.tokenizer, record=record)
    return TrainedGan(
        seed=seed, maximum_likelihood=pretrained, adversarial=out / name, wall_s=float(record["wall_s"])
    )


def _train(
    recipe: LatentRecipe,
    seed: int,
    generator: LatentModel,
    pieces: Pieces,
    work: Path,
    identity: str,
    report: Callable[[GanStep], None] | None,
) -> float:
    part = recipe.gan
    with alone_in(work):
        torch.manual_seed(seed)
        both = Adversaries(generator)
        optimizer = torch.optim.AdamW(
            [
                {"params": list(generator.parameters()), "lr": part.learning_rate},
                {"params": [*both.discriminator.parameters(), *both.value.parameters()],
                 "lr": part.discriminator_learning_rate},
            ],
            weight_decay=0.0,
        )  # fmt: skip
        progress = load_checkpoint(work / CHECKPOINT, model=both, optimizer=optimizer, run=identity)
        progress = progress or Progress(run=identity, step=0, wall_s=0.0)
        began = time.monotonic() - progress.wall_s
        # A discriminator that has seen nothing rewards nothing: it learns first, in steps of their own.
        total = part.discriminator_pretraining + part.steps
        with StepLog(work / LOG, step=progress.step) as log:
            for step in range(progress.step, total):
                adversarial = step >= part.discriminator_pretraining
                reward, value_loss = (
                    _generator_step(both, optimizer, recipe, pieces) if adversarial else (0, 0)
                )
                turns = part.discriminator_steps if adversarial else 1
                right = [
                    _discriminator_step(
                        both, optimizer, recipe, pieces, step * part.discriminator_steps + i, seed
                    )
                    for i in range(turns)
                ]
                accuracy = sum(right) / len(right) if right else 0.0
                if not math.isfinite(reward) or not math.isfinite(value_loss):
                    raise DivergedError(
                        f"{work.name}: at step {step} of {total} a loss is no number. The last good "
                        f"checkpoint is {work / CHECKPOINT}; lower gan.learning_rate."
                    )
                log.write(step=step, reward=reward, value_loss=value_loss, discriminator_accuracy=accuracy)
                if (step + 1) % recipe.training.checkpoint_steps == 0 or step + 1 == total:
                    progress = Progress(run=identity, step=step + 1, wall_s=time.monotonic() - began)
                    save_checkpoint(work / CHECKPOINT, model=both, optimizer=optimizer, progress=progress)
                if report is not None:
                    report(
                        GanStep(
                            name=work.name,
                            step=step,
                            steps=total,
                            reward=reward,
                            discriminator_accuracy=accuracy,
                        )
                    )
    return progress.wall_s


def _generator_step(
    both: Adversaries, optimizer: torch.optim.Optimizer, recipe: LatentRecipe, pieces: Pieces
) -> tuple[float, float]:
    part = recipe.gan
    rolled = roll_out(
        both.generator,
        both.reward,
        texts=part.batch_texts,
        begin=pieces.begin,
        end=pieces.end,
        rollouts=part.rollouts,
        every=part.rollout_every,
    )
    values = both.values(rolled.ids) if part.baseline else None
    loss = policy_loss(both.generator, rolled, values, entropy_weight=part.entropy_weight)
    value_loss = torch.zeros(())
    if values is not None:
        scored = rolled.mask[:, 1:]
        value_loss = functional.mse_loss(values[scored], rolled.values[scored])
    (loss + value_loss).backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(both.generator.parameters(), recipe.training.clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(rolled.values[:, -1].mean()), float(value_loss.detach())


def _discriminator_step(
    both: Adversaries,
    optimizer: torch.optim.Optimizer,
    recipe: LatentRecipe,
    pieces: Pieces,
    step: int,
    seed: int,
) -> float:
    """One step on human and generated texts in equal number; the share it got right before the step."""
    texts = recipe.gan.discriminator_texts or recipe.gan.batch_texts
    ids, mask = pieces.batch(step=step, texts=texts, seed=seed + 1)
    made = sample(both.generator, None, texts=len(ids), begin=pieces.begin, end=pieces.end)
    theirs, their_mask = rows_of(made, begin=pieces.begin, end=pieces.end)
    human, generated = both.discriminator(ids, mask), both.discriminator(theirs, their_mask)
    loss = functional.softplus(-human).mean() + functional.softplus(generated).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(((human > 0).float().mean() + (generated <= 0).float().mean()).detach() / 2)
