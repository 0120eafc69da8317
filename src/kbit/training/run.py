"""Train one rung, from its last checkpoint to its last step."""

import fcntl
import hashlib
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from kbit.errors import TrainingError
from kbit.training.architecture import config_of, new_model
from kbit.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from kbit.training.log import StepLog, read_log
from kbit.training.loss import LN2, sliced_cross_entropy
from kbit.training.memory import keep_freed_memory
from kbit.training.pack import Stream
from kbit.training.recipe import Recipe, Rung, TrainingPart
from kbit.training.schedule import learning_rate

CHECKPOINT, LOG = "checkpoint.safetensors", "log.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A rung after its last step."""

    model: LlamaForCausalLM
    steps: int
    tokens: int
    wall_s: float
    prequential_bits_per_byte: float
    """Bits the run needed for what it saw before seeing it, over the first pass of the text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What a step reports."""

    rung: str
    step: int
    steps: int
    loss_nats: float
    tokens_per_s: float


def steps_of(rung: Rung, recipe: Recipe) -> int:
    """Whole steps that reach a rung's tokens, at least one."""
    return max(1, round(rung.tokens / tokens_per_step(recipe)))


def tokens_per_step(recipe: Recipe) -> int:
    """Tokens whose loss one step of the optimiser sees."""
    part = recipe.training
    return part.batch_windows * part.accumulation * recipe.model.context


def run_identity(rung: Rung, recipe: Recipe, text_hash: str) -> str:
    """Hash of all that decides a rung's losses: its row, the shared parts and the text, not other rungs."""
    record = asdict(replace(recipe, name="", rungs=(replace(rung, name=""),)))
    record["training"].pop("checkpoint_steps")
    content = json.dumps({"recipe": record, "text": text_hash}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def train_rung(
    rung: Rung,
    recipe: Recipe,
    stream: Stream,
    *,
    folder: Path,
    text_hash: str,
    report: Callable[[Step], None] | None = None,
) -> Trained:
    """Train a rung, resuming where its folder's checkpoint stands; the losses are those of one whole run.

    Args:
        rung: which model.
        recipe: everything shared.
        stream: packed training text.
        folder: where checkpoint and log live.
        text_hash: content hash of the training text.
        report: called after each step.

    Raises:
        TrainingError: the loss is no number, another process trains this rung, or the checkpoint is foreign.
    """
    keep_freed_memory()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        return _train(rung, recipe, stream, folder, run_identity(rung, recipe, text_hash), report)


def _train(
    rung: Rung,
    recipe: Recipe,
    stream: Stream,
    folder: Path,
    identity: str,
    report: Callable[[Step], None] | None,
) -> Trained:
    part, steps, parent = recipe.training, steps_of(rung, recipe), multiprocessing.parent_process()
    torch.manual_seed(recipe.seed)
    config = config_of(rung, recipe.model, vocabulary=recipe.tokenizer.vocabulary)
    model = new_model(config, seed=recipe.seed)
    optimizer = new_optimizer(model, part)
    progress = load_checkpoint(folder / CHECKPOINT, model=model, optimizer=optimizer, run=identity)
    progress = progress or Progress(run=identity, step=0, wall_s=0.0)
    body = torch.compile(model.model, dynamic=False) if part.compile else model.model
    model.train()
    began = time.monotonic() - progress.wall_s
    with StepLog(folder / LOG, step=progress.step) as log:
        for step in range(progress.step, steps):
            if parent is not None and not parent.is_alive():
                raise TrainingError(
                    f"{rung.name}: the process that started this one is gone; run it again to resume."
                )
            started = time.monotonic()
            rate = learning_rate(part, hidden=rung.hidden, step=step, steps=steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = stream.batch(step=step, windows=part.batch_windows * part.accumulation, seed=recipe.seed)
            loss, norm = train_step(model, body, optimizer, torch.from_numpy(batch), part)
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise TrainingError(
                    f"{rung.name}: at step {step} of {steps} the loss is {loss}, the gradient's norm {norm}. "
                    f"The last good checkpoint is {folder / CHECKPOINT}; lower training.learning_rate "
                    f"(here {rate:.2e}) or training.clip_norm."
                )
            took = time.monotonic() - started
            tokens = tokens_per_step(recipe)
            log.write(
                step=step,
                tokens=(step + 1) * tokens,
                loss_nats=loss,
                loss_bits=loss / LN2,
                learning_rate=rate,
                gradient_norm=norm,
                tokens_per_s=round(tokens / took, 1),
            )
            if (step + 1) % part.checkpoint_steps == 0 or step + 1 == steps:
                progress = Progress(run=identity, step=step + 1, wall_s=time.monotonic() - began)
                save_checkpoint(folder / CHECKPOINT, model=model, optimizer=optimizer, progress=progress)
            if report is not None:
                report(
                    Step(rung=rung.name, step=step, steps=steps, loss_nats=loss, tokens_per_s=tokens / took)
                )
    return Trained(
        model=model,
        steps=steps,
        tokens=steps * tokens_per_step(recipe),
        wall_s=progress.wall_s,
        prequential_bits_per_byte=_prequential(read_log(folder / LOG), recipe, stream),
    )


def train_step(
    model: LlamaForCausalLM,
    body: Callable[..., object],
    optimizer: torch.optim.Optimizer,
    batch: Tensor,
    part: TrainingPart,
) -> tuple[float, float]:
    """One step of the optimiser; if loss or gradient are no numbers, the weights stay as they were.

    Args:
        model: its weights move.
        body: the model without its head, compiled or not.
        optimizer: over the model's parameters.
        batch: [windows, context + 1], token numbers.
        part: accumulation and clipping.

    Returns:
        Mean loss in nats a token, and the gradient's norm before clipping.
    """
    loss = _backward(model, body, batch, part.accumulation)
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), part.clip_norm))
    if math.isfinite(loss) and math.isfinite(norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss, norm


def _backward(
    model: LlamaForCausalLM, body: Callable[..., object], batch: Tensor, accumulation: int
) -> float:
    """Leave the gradient of the mean loss in the model; return that loss in nats a token."""
    total = 0.0
    for part in batch.chunk(accumulation):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = body(input_ids=part[:, :-1], use_cache=False)
            hidden: Tensor = output.last_hidden_state  # type: ignore[attr-defined]
            loss = sliced_cross_entropy(
                hidden.flatten(0, 1), model.lm_head.weight, part[:, 1:].flatten(), dtype=torch.bfloat16
            )
        (loss / accumulation).backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach()) / accumulation
    return total


def _prequential(log: list[dict[str, Any]], recipe: Recipe, stream: Stream) -> float:
    """Bits per byte of the first pass: each window is coded by the weights as they were before its step."""
    windows = recipe.training.batch_windows * recipe.training.accumulation
    first = [record["loss_nats"] for record in log[: max(1, stream.windows_per_epoch // windows)]]
    nats_per_token = math.fsum(first) / len(first)
    return nats_per_token / LN2 * len(stream.tokens) / stream.bytes


def new_optimizer(model: LlamaForCausalLM, part: TrainingPart) -> torch.optim.Optimizer:
    """AdamW; only matrices decay."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": part.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=part.learning_rate, betas=(part.beta1, part.beta2), fused=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it falls away with the process, however that ends."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                f"another process is training in {folder}. Wait for it or stop it."
            ) from error
        yield
