"""Train one run, from its last checkpoint to its last step."""

import fcntl
import hashlib
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from kbit.errors import TrainingError
from kbit.training.architecture import config_of, new_model, size_of
from kbit.training.branches import Run, tokens_per_step
from kbit.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from kbit.training.log import StepLog, read_log
from kbit.training.loss import LN2
from kbit.training.memory import keep_freed_memory
from kbit.training.objective import Objective
from kbit.training.pack import Stream
from kbit.training.peak import peak_flops_per_s
from kbit.training.processes import Processes
from kbit.training.recipe import Recipe, TrainingPart
from kbit.training.schedule import learning_rate

CHECKPOINT, LOG = "checkpoint.safetensors", "log.jsonl"
ALONE = Processes()


class DivergedError(TrainingError):
    """The loss or its gradient is no number any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A rung after its last step."""

    model: PreTrainedModel
    steps: int
    tokens: int
    wall_s: float
    prequential_bits_per_byte: float
    """Bits the run needed for what it saw before seeing it, over the first pass of the text."""
    peak_flops_per_s: float
    """Of this process's device, as measured at the start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What a step reports."""

    rung: str
    step: int
    steps: int
    loss_nats: float
    tokens_per_s: float
    share_of_peak: float
    """FLOP/s over those of a large bfloat16 matrix product on the same device and threads."""


def run_identity(run: Run, recipe: Recipe, text_hash: str, *, trunk: bool = False) -> str:
    """Hash of all that decides a run's losses: its row, the shared parts and the text, not other rungs.

    A trunk does not know where its branches end; what it does know of them is the warm-up.
    """
    row = replace(run.rung, name="", tokens=0 if trunk else run.tokens, branches=())
    record = asdict(replace(recipe, name="", rungs=(row,)))
    for key in ("checkpoint_steps", "tensorboard"):
        record["training"].pop(key)
    record["model"].pop("aspect")  # the shape that follows from it counts
    record["rungs"][0].pop("branches")
    for key in ("held_out_bytes", "held_out_piece_bytes"):
        record["text"].pop(key)
    if recipe.model.residual_init == "scaled":  # what runs were before there was a choice
        record["model"].pop("residual_init")
    if run.branched:
        record["warmup_steps"] = run.warmup_steps
    content = json.dumps({"recipe": record, "text": text_hash}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Span:
    """Steps trained in one folder: a whole run, a trunk up to a branch, or a branch."""

    run: Run
    folder: Path
    identity: str
    until: int
    start: tuple[Path, str] | None = None
    """The checkpoint a branch begins from, and that checkpoint's identity."""


def train_run(
    run: Run,
    recipe: Recipe,
    stream: Stream,
    *,
    work: Path,
    text_hash: str,
    report: Callable[[Step], None] | None = None,
    group: Processes = ALONE,
) -> Trained:
    """Train a run, resuming where its checkpoint stands; the losses are those of one whole run.

    Args:
        run: one of `runs_of(rung, recipe)`.
        recipe: everything shared.
        stream: packed training text.
        work: checkpoint and log live in `work/RUN`, those of a trunk in `work/RUNG-trunk`.
        text_hash: content hash of the training text.
        report: called after each step.
        group: the processes that train together; the first of them writes.

    Raises:
        TrainingError: a step's windows do not share out over the processes, the loss is no number,
            another process trains this run, or the checkpoint is foreign.
    """
    keep_freed_memory()
    if recipe.training.batch_windows % group.count:
        raise TrainingError(
            f"training.batch_windows is {recipe.training.batch_windows}; it must be a multiple of the "
            f"{group.count} processes, which share the windows of a step."
        )
    folder, identity = work / run.name, run_identity(run, recipe, text_hash)
    span = _Span(run=run, folder=folder, identity=identity, until=run.steps)
    earlier: list[dict[str, Any]] = []
    if run.branched:
        trunk = work / f"{run.rung.name}-trunk"
        start = trunk / f"at-{run.decay_start}.safetensors"
        trunk_identity = run_identity(run, recipe, text_hash, trunk=True)
        if not (folder / CHECKPOINT).exists() and not start.exists():
            common = _Span(run=run, folder=trunk, identity=trunk_identity, until=run.decay_start)
            with alone_in(trunk, group):
                _train(common, recipe, stream, report, group)
                if group.main:
                    os.link(trunk / CHECKPOINT, start)
            group.wait()
        span = replace(span, start=(start, trunk_identity))
        earlier = [record for record in read_log(trunk / LOG) if record["step"] < run.decay_start]
    with alone_in(folder, group):
        model, wall_s = _train(span, recipe, stream, report, group)
    return Trained(
        model=model,
        steps=run.steps,
        tokens=run.steps * tokens_per_step(recipe),
        wall_s=wall_s,
        prequential_bits_per_byte=_prequential(earlier + read_log(folder / LOG), recipe, stream),
        peak_flops_per_s=_peak(group),
    )


def _train(
    span: _Span,
    recipe: Recipe,
    stream: Stream,
    report: Callable[[Step], None] | None,
    group: Processes,
) -> tuple[PreTrainedModel, float]:
    """Train to the span's end; the model, and the seconds the span has taken over all its resumptions."""
    run, part, parent = span.run, recipe.training, multiprocessing.parent_process()
    torch.manual_seed(recipe.seed)
    config = config_of(run.rung, recipe.model, vocabulary=recipe.tokenizer.vocabulary)
    model = new_model(config, seed=recipe.seed, residual_init=recipe.model.residual_init).to(group.device)
    optimizer = new_optimizer(model, part)
    own = span.folder / CHECKPOINT
    progress = load_checkpoint(own, model=model, optimizer=optimizer, run=span.identity)
    if progress is None and span.start is not None:
        progress = load_checkpoint(span.start[0], model=model, optimizer=optimizer, run=span.start[1])
    progress = progress or Progress(run=span.identity, step=0, wall_s=0.0)
    if progress.step > span.until:
        raise TrainingError(
            f"{run.name} would branch off at step {span.until}, but {own} stands at {progress.step} already. "
            f"Give a branch of more tokens, or remove {span.folder} to train the stable part again."
        )
    objective = group.wrap(Objective(model, compiled=part.compile))
    size = size_of(run.rung, recipe.model, recipe.tokenizer.vocabulary)
    roof = _peak(group) * group.count / size.flops_per_token
    model.train()
    began = time.monotonic() - progress.wall_s
    board = span.folder / "tensorboard" if part.tensorboard else None
    with StepLog(span.folder / LOG, step=progress.step, board=board, writes=group.main) as log:
        for step in range(progress.step, span.until):
            if parent is not None and not parent.is_alive():
                raise TrainingError(
                    f"{run.name}: the process that started this one is gone; run it again to resume."
                )
            started = time.monotonic()
            rate = _rate(run, part, step)
            for parameters in optimizer.param_groups:
                parameters["lr"] = rate
            batch = stream.batch(step=step, windows=part.batch_windows * part.accumulation, seed=recipe.seed)
            loss, norm = train_step(objective, optimizer, torch.from_numpy(batch), part, group)
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise DivergedError(
                    f"{run.name}: at step {step} of {run.steps} the loss is {loss}, the gradient's norm "
                    f"{norm}. The last good checkpoint is {own}; lower training.learning_rate "
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
                share_of_peak=round(tokens / took / roof, 4),
            )
            if (step + 1) % part.checkpoint_steps == 0 or step + 1 == span.until:
                progress = Progress(run=span.identity, step=step + 1, wall_s=time.monotonic() - began)
                if group.main:
                    save_checkpoint(own, model=model, optimizer=optimizer, progress=progress)
            if report is not None and group.main:
                report(
                    Step(
                        rung=run.name,
                        step=step,
                        steps=run.steps,
                        loss_nats=loss,
                        tokens_per_s=tokens / took,
                        share_of_peak=tokens / took / roof,
                    )
                )
    return model, progress.wall_s


def _peak(group: Processes) -> float:
    return peak_flops_per_s(str(group.device), torch.get_num_threads())


def _rate(run: Run, part: TrainingPart, step: int) -> float:
    warmup = run.warmup_steps if run.branched else None
    return learning_rate(part, hidden=run.rung.hidden, step=step, steps=run.steps, warmup_steps=warmup)


def train_step(
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Tensor,
    part: TrainingPart,
    group: Processes = ALONE,
) -> tuple[float, float]:
    """One step of the optimiser; if loss or gradient are no numbers, the weights stay as they were.

    Args:
        objective: windows to mean loss in nats a token; its weights move.
        optimizer: over its parameters.
        batch: [windows, context + 1], token numbers, of all processes together.
        part: accumulation and clipping.
        group: the processes that share the step.

    Returns:
        Mean loss in nats a token, and the gradient's norm before clipping.
    """
    total = 0.0
    chunks = batch.chunk(part.accumulation)
    for number, chunk in enumerate(chunks, 1):
        # Gradients travel once a step, with the last chunk.
        alone = isinstance(objective, DistributedDataParallel) and number < len(chunks)
        with objective.no_sync() if alone else nullcontext():  # type: ignore[operator]
            loss = objective(group.share(chunk))
            (loss / part.accumulation).backward()
        total += float(loss.detach()) / part.accumulation
    loss_nats = group.mean(total)
    norm = float(torch.nn.utils.clip_grad_norm_(objective.parameters(), part.clip_norm))
    if math.isfinite(loss_nats) and math.isfinite(norm):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss_nats, norm


def _prequential(log: list[dict[str, Any]], recipe: Recipe, stream: Stream) -> float:
    """Bits per byte of the first pass: each window is coded by the weights as they were before its step."""
    windows = recipe.training.batch_windows * recipe.training.accumulation
    first = [record["loss_nats"] for record in log[: max(1, stream.windows_per_epoch // windows)]]
    nats_per_token = math.fsum(first) / len(first)
    return nats_per_token / LN2 * len(stream.tokens) / stream.bytes


def new_optimizer(model: PreTrainedModel, part: TrainingPart) -> torch.optim.Optimizer:
    """AdamW; only matrices decay."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": part.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=part.learning_rate, betas=(part.beta1, part.beta2), fused=True)


@contextmanager
def alone_in(folder: Path, group: Processes = ALONE) -> Iterator[None]:
    """Hold the folder's lock; it falls away with the process, however that ends."""
    if not group.main:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                f"another process is training in {folder}. Wait for it or stop it."
            ) from error
        yield
