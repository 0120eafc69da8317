"""Train the variants of a recipe, each from its last checkpoint to its last step, and measure them."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kbit.errors import TrainingError, did_you_mean
from kbit.models import load
from kbit.models.latent import LatentModel
from kbit.training.checkpoint import Progress, load_checkpoint, save_checkpoint, write_text
from kbit.training.export import RECORD, export_rung, read_record
from kbit.training.latent.evaluate import LatentFigures, evaluate_latent
from kbit.training.latent.objective import vae_terms
from kbit.training.latent.pieces import Pieces, prepare_pieces
from kbit.training.latent.recipe import LatentRecipe, Variant
from kbit.training.log import StepLog
from kbit.training.memory import keep_freed_memory
from kbit.training.run import CHECKPOINT, LOG, DivergedError, alone_in, new_optimizer
from kbit.training.schedule import learning_rate

VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentStep:
    """What a step reports."""

    name: str
    step: int
    steps: int
    loss_nats: float
    rate_nats: float
    kl_weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedVariant:
    """A variant with one seed, on disk."""

    name: str
    variant: str
    seed: int
    folder: Path
    parameters: int
    wall_s: float
    figures: LatentFigures


Report = Callable[[LatentStep], None]


def train_vae(
    recipe: LatentRecipe, out: Path, *, only: Sequence[str] = (), report: Report | None = None
) -> list[TrainedVariant]:
    """Train all variants of a recipe with all its seeds; what is finished is kept, what is begun goes on.

    Args:
        recipe: what to train.
        out: the folder: text and tokeniser, `runs/` with checkpoints and logs, and a model folder for each.
        only: names of variants; none means all.
        report: called after each step.

    Raises:
        TrainingError: a name in `only` is unknown, the loss is no number, or a checkpoint is foreign.
        CorpusError: the text cannot be read.
    """
    names = [variant.name for variant in recipe.variants]
    for name in only:
        if name not in names:
            raise TrainingError(
                f"the recipe {recipe.name} has no variant {name!r}; {did_you_mean(name, names)}"
            )
    keep_freed_memory()
    pieces = prepare_pieces(recipe, out)
    return [
        _finish(recipe, variant, seed, pieces, out, report)
        for variant in recipe.variants
        if not only or variant.name in only
        for seed in recipe.seeds
    ]


def run_hash(recipe: LatentRecipe, variant: Variant, seed: int, text_hash: str, *more: Any) -> str:
    """Of all that decides a variant's weights."""
    shared = [asdict(part) for part in (recipe.text, recipe.tokenizer, recipe.model, recipe.training)]
    shared[3].pop("checkpoint_steps")
    row = asdict(variant) | {"name": ""}
    content = json.dumps([VERSION, shared, row, seed, text_hash, *more], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _finish(
    recipe: LatentRecipe, variant: Variant, seed: int, pieces: Pieces, out: Path, report: Report | None
) -> TrainedVariant:
    name = variant.name if len(recipe.seeds) == 1 else f"{variant.name}-seed-{seed}"
    folder, identity = out / name, run_hash(recipe, variant, seed, pieces.text_hash)
    looked_at = asdict(recipe.evaluation)
    record = read_record(folder) if folder.exists() else None
    if record is None or record.get("run") != identity:
        if record is None and folder.exists() and any(folder.iterdir()):
            raise TrainingError(f"{folder} is there and holds no model of this recipe. Choose another --out.")
        if record is not None:
            raise TrainingError(
                f"{folder} holds a model of another recipe or text. Choose another --out, or remove it."
            )
        model, wall_s = train_variant(
            recipe, variant, seed, pieces, work=out / "runs" / name, identity=identity, report=report
        )
        record = {"run": identity, "recipe": recipe.name, "variant": asdict(variant), "seed": seed,
                  "steps": recipe.training.steps, "wall_s": round(wall_s, 1),
                  "parameters": sum(p.numel() for p in model.parameters())}  # fmt: skip
        export_rung(folder, model=model, tokenizer=pieces.tokenizer, record=record)
    if record.get("looked_at") != looked_at:
        model = load(folder, dtype=torch.float32)
        figures = evaluate_latent(model, pieces.tokenizer, pieces.held_out, recipe.evaluation)
        record |= {"looked_at": looked_at, "held_out": asdict(figures)}
        _write_record(folder, record)
    return TrainedVariant(
        name=name,
        variant=variant.name,
        seed=seed,
        folder=folder,
        parameters=record["parameters"],
        wall_s=record["wall_s"],
        figures=LatentFigures(**record["held_out"]),
    )


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")


def train_variant(
    recipe: LatentRecipe,
    variant: Variant,
    seed: int,
    pieces: Pieces,
    *,
    work: Path,
    identity: str,
    report: Report | None = None,
) -> tuple[LatentModel, float]:
    """Train one variant; a run that was killed goes on with the losses of one left alone.

    Returns:
        The model in float32, and the seconds it took over all resumptions.
    """
    training, part = recipe.training, recipe.training.part(recipe.model.hidden)
    with alone_in(work):
        torch.manual_seed(seed)
        model = LatentModel(recipe.config(variant))
        optimizer = new_optimizer(model, part)
        progress = load_checkpoint(work / CHECKPOINT, model=model, optimizer=optimizer, run=identity)
        progress = progress or Progress(run=identity, step=0, wall_s=0.0)
        model.train()
        began = time.monotonic() - progress.wall_s
        fresh = round(variant.autoencoder_share * training.steps) if model.latent_size else 0
        with StepLog(work / LOG, step=progress.step) as log:
            for step in range(progress.step, training.steps):
                if step == fresh and step > 0 and variant.reset_decoder:
                    _new_decoder(model, optimizer)
                rate = learning_rate(part, hidden=recipe.model.hidden, step=step, steps=training.steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                ids, mask = pieces.batch(step=step, texts=training.batch_texts, seed=seed)
                terms = vae_terms(
                    model, ids, mask, variant, step=step, steps=training.steps, hidden_token=pieces.begin
                )
                terms.loss.backward()  # type: ignore[no-untyped-call]
                norm = float(nn.utils.clip_grad_norm_(model.parameters(), part.clip_norm))
                loss = float(terms.loss.detach())
                if not math.isfinite(loss) or not math.isfinite(norm):
                    raise DivergedError(
                        f"{work.name}: at step {step} of {training.steps} the loss is {loss}, the gradient's "
                        f"norm {norm}. The last good checkpoint is {work / CHECKPOINT}; lower "
                        f"training.learning_rate (here {rate:.2e})."
                    )
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                log.write(
                    step=step,
                    loss_nats=loss,
                    distortion_nats=terms.distortion,
                    rate_nats=terms.rate,
                    kl_weight=terms.kl_weight,
                    learning_rate=rate,
                    gradient_norm=norm,
                )
                if (step + 1) % training.checkpoint_steps == 0 or step + 1 == training.steps:
                    progress = Progress(run=identity, step=step + 1, wall_s=time.monotonic() - began)
                    save_checkpoint(work / CHECKPOINT, model=model, optimizer=optimizer, progress=progress)
                if report is not None:
                    report(
                        LatentStep(
                            name=work.name,
                            step=step,
                            steps=training.steps,
                            loss_nats=loss,
                            rate_nats=terms.rate,
                            kl_weight=terms.kl_weight,
                        )
                    )
    return model.eval(), progress.wall_s


def _new_decoder(model: LatentModel, optimizer: torch.optim.Optimizer) -> None:
    """A decoder that has not learnt to do without the vector; the encoder and the embedding stay."""
    for part in (model.decoder, model.condition_proj):
        for module in part.modules():
            model._init_weights(module)
        for parameter in part.parameters():
            optimizer.state.pop(parameter, None)
