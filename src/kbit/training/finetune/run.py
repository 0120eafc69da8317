"""Train on answers, from the last checkpoint to the last step or until held-out answers get no better."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from kbit.coders import CodeLengths
from kbit.errors import TrainingError
from kbit.training.checkpoint import Progress, load_checkpoint, save_checkpoint, sync
from kbit.training.finetune.batches import Order, class_weights, make_batch
from kbit.training.finetune.encode import Encoded, EncodedSet
from kbit.training.finetune.lora import trained
from kbit.training.finetune.memory import Memory, PeakMemory, memory_needed
from kbit.training.finetune.objective import AnswerLoss
from kbit.training.finetune.settings import Tuning
from kbit.training.log import StepLog, read_log
from kbit.training.loss import LN2
from kbit.training.recipe import TrainingPart
from kbit.training.run import CHECKPOINT, LOG, DivergedError, alone_in
from kbit.training.schedule import learning_rate

BEST, LOOKS = "best.safetensors", 10


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """Answers of examples that are not trained on.

    Attributes:
        loss: as training counts it: a mean over labels or answer tokens, with classes' weights.
        exact: share of the examples of whose answers every token was the likeliest, given those before it.
        lengths: code length of each answer.
    """

    loss: float
    exact: float
    lengths: tuple[CodeLengths, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningStep:
    """What a step reports."""

    step: int
    steps: int
    loss_nats: float
    tokens_per_s: float
    held_out_loss: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """A model after its last step; the weights are those of its best look at held-out answers.

    Attributes:
        steps: done.
        planned_steps: that would have been without early stopping.
        best_step: whose weights these are; 0 where none was better than the start.
        before, after: held-out answers under the model as it came and as it is.
        memory: counted before the start.
        peak_bytes: resident, at most, above what the process had before training.
        wall_s: of all sessions of the run together.
    """

    steps: int
    planned_steps: int
    best_step: int
    before: HeldOut
    after: HeldOut
    memory: Memory
    peak_bytes: int
    wall_s: float


def tune(
    model: Any,
    training: EncodedSet,
    held_out: EncodedSet,
    tuning: Tuning,
    *,
    folder: Path,
    identity: str,
    report: Callable[[TuningStep], None] | None = None,
    told: Callable[[Memory, int], None] | None = None,
) -> Tuned:
    """Train a model that was made trainable; it ends with its best weights.

    Args:
        model: some of whose parameters require gradients.
        training: what to learn.
        held_out: what decides when to stop.
        tuning: how.
        folder: checkpoint, log and best weights live here; a run that died goes on from them.
        identity: hash of everything that decides the losses.
        report: called after each step.
        told: called before the first step with the memory it needs, and the number of steps.

    Raises:
        TrainingError: the loss is no number, another process trains here, or the checkpoint is foreign.
    """
    with alone_in(folder):
        return _tune(model, training, held_out, tuning, folder, identity, report, told)


def _tune(
    model: Any,
    training: EncodedSet,
    held_out: EncodedSet,
    tuning: Tuning,
    folder: Path,
    identity: str,
    report: Callable[[TuningStep], None] | None,
    told: Callable[[Memory, int], None] | None,
) -> Tuned:
    by_label = bool(training.labels)
    loss = AnswerLoss(
        model,
        by_label=by_label,
        focal_gamma=tuning.focal_gamma if tuning.imbalance == "focal" else 0.0,
        autocast=tuning.precision == "bf16",
    )
    labels = tuple(e.label for e in training.examples if e.label is not None)
    # With classes drawn equally often, held-out ones count as if they had been too.
    balance = class_weights(labels) if tuning.imbalance in ("weights", "sampling") and by_label else None
    weights = balance if tuning.imbalance == "weights" else None
    order = Order(
        lengths=tuple(example.length for example in training.examples),
        labels=labels if tuning.imbalance == "sampling" and by_label else None,
        batch_examples=tuning.batch_examples,
        seed=tuning.seed,
    )
    steps = max(1, round(tuning.epochs * order.steps_per_epoch))
    look = tuning.evaluate_steps or max(1, steps // LOOKS)
    watch = PeakMemory()
    chunks = [c for batch in order.epoch(0) for c in _chunks([training.examples[i] for i in batch], tuning)]
    model.train()
    memory = memory_needed(model, loss, chunks)
    if told is not None:
        told(memory, steps)
    parameters = trained(model)
    optimizer = _optimizer(model, tuning)
    before = evaluate(model, loss, held_out, balance, tuning)
    torch.manual_seed(tuning.seed)
    progress = load_checkpoint(folder / CHECKPOINT, model=model, optimizer=optimizer, run=identity)
    if progress is None:
        progress = Progress(run=identity, step=0, wall_s=0.0)
        _save_best(folder / BEST, model, 0)
    began = time.monotonic() - progress.wall_s
    with StepLog(folder / LOG, step=progress.step) as log:
        looks = [(r["step"] + 1, r["held_out_loss"]) for r in _looks(folder / LOG)]
        for step in range(progress.step, steps):
            if _over(looks, before.loss, tuning.patience):
                break
            started = time.monotonic()
            rate = _rate(tuning, step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            examples = [training.examples[i] for i in order.step(step)]
            model.train()
            mean, tokens = _backward(loss, examples, weights, tuning, training.longest)
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, tuning.clip_norm))
            if not math.isfinite(mean) or not math.isfinite(norm):
                raise DivergedError(
                    f"at step {step} of {steps} the loss is {mean}, the gradient's norm {norm}. The last "
                    f"good checkpoint is in {folder}; lower learning_rate (here {rate:.2e}) or clip_norm."
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            took = time.monotonic() - started
            held = None
            if (step + 1) % look == 0 or step + 1 == steps:
                held = evaluate(model, loss, held_out, balance, tuning)
                if held.loss < min([before.loss, *(value for _, value in looks)]):
                    _save_best(folder / BEST, model, step + 1)
                looks.append((step + 1, held.loss))
            log.write(
                step=step,
                loss_nats=mean,
                learning_rate=rate,
                gradient_norm=norm,
                tokens_per_s=round(tokens / took, 1),
                **({} if held is None else {"held_out_loss": held.loss, "held_out_exact": held.exact}),
            )
            if held is not None or (step + 1) % tuning.checkpoint_steps == 0:
                progress = Progress(run=identity, step=step + 1, wall_s=time.monotonic() - began)
                save_checkpoint(folder / CHECKPOINT, model=model, optimizer=optimizer, progress=progress)
            if report is not None:
                report(
                    TuningStep(
                        step=step,
                        steps=steps,
                        loss_nats=mean,
                        tokens_per_s=tokens / took,
                        held_out_loss=None if held is None else held.loss,
                    )
                )
    best_step = min([(before.loss, 0), *((value, at) for at, value in looks)])[1]
    peak_bytes = watch.above_bytes()
    _load_best(folder / BEST, model, best_step)
    return Tuned(
        steps=looks[-1][0] if looks else 0,
        planned_steps=steps,
        best_step=best_step,
        before=before,
        after=evaluate(model, loss, held_out, balance, tuning) if best_step else before,
        memory=memory,
        peak_bytes=peak_bytes,
        wall_s=progress.wall_s,
    )


def evaluate(
    model: Any, loss: AnswerLoss, held_out: EncodedSet, balance: dict[str, float] | None, tuning: Tuning
) -> HeldOut:
    """Held-out answers under the model as it is; neither gradients nor random numbers are touched."""
    order = sorted(range(len(held_out.examples)), key=lambda i: held_out.examples[i].length)
    total = weight = 0.0
    exact = 0
    lengths: dict[int, CodeLengths] = {}
    size = 2 * max(1, tuning.batch_examples // tuning.accumulation)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), size):
            numbers = order[start : start + size]
            examples = [held_out.examples[i] for i in numbers]
            found = loss(make_batch(examples, balance, longest=held_out.longest))
            total, weight = total + float(found.total), weight + found.weight
            exact += int(found.exact.sum())
            for number, example, nats in zip(numbers, examples, found.nats.tolist(), strict=True):
                lengths[number] = CodeLengths(
                    document=example.source,
                    bits=nats / LN2,
                    bytes=example.answer_bytes,
                    characters=example.answer_characters,
                    tokens=int(example.answer.sum()),
                    bytes_lost=0,
                )
    return HeldOut(
        loss=total / weight,
        exact=exact / len(order),
        lengths=tuple(lengths[i] for i in range(len(order))),
    )


def _backward(
    loss: AnswerLoss,
    examples: Sequence[Encoded],
    weights: dict[str, float] | None,
    tuning: Tuning,
    longest: int,
) -> tuple[float, int]:
    """Gradients of the mean loss of a step, part by part; that mean, and the tokens read."""
    batches = [make_batch(chunk, weights, longest=longest) for chunk in _chunks(examples, tuning)]
    whole = math.fsum(loss.weight(batch) for batch in batches)
    total = 0.0
    for batch in batches:
        found = loss(batch)
        (found.total / whole).backward()  # type: ignore[no-untyped-call]
        total += float(found.total.detach())
    return total / whole, sum(example.length for example in examples)


def _chunks(examples: Sequence[Encoded], tuning: Tuning) -> Iterator[Sequence[Encoded]]:
    size = max(1, math.ceil(tuning.batch_examples / tuning.accumulation))
    for start in range(0, len(examples), size):
        yield examples[start : start + size]


def _rate(tuning: Tuning, step: int, steps: int) -> float:
    part = TrainingPart(
        learning_rate=tuning.learning_rate,
        warmup_share=tuning.warmup_share,
        decay_share=1.0 - tuning.warmup_share,
        reference_hidden=1,
    )
    return learning_rate(part, hidden=1, step=step, steps=steps)


def _optimizer(model: Any, tuning: Tuning) -> torch.optim.Optimizer:
    """AdamW; only matrices decay."""
    moved = trained(model)
    groups = [
        {"params": [p for p in moved if p.ndim > 1], "weight_decay": tuning.weight_decay},
        {"params": [p for p in moved if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=tuning.learning_rate, fused=True)


def _looks(path: Path) -> list[dict[str, Any]]:
    return [record for record in read_log(path) if "held_out_loss" in record]


def _over(looks: Sequence[tuple[int, float]], start: float, patience: int) -> bool:
    """Whether the last `patience` looks were none of them better than the best before."""
    if not patience or len(looks) < patience:
        return False
    earlier = min([start, *(value for _, value in looks[:-patience])])
    return min(value for _, value in looks[-patience:]) >= earlier


def _save_best(path: Path, model: Any, step: int) -> None:
    tensors = {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}
    temporary = path.with_name(path.name + ".tmp")
    save_file(tensors, temporary, metadata={"kbit": json.dumps({"step": step})})
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def _load_best(path: Path, model: Any, step: int) -> None:
    try:
        with safe_open(path, framework="pt") as file, torch.no_grad():
            if json.loads(file.metadata()["kbit"])["step"] != step:
                raise TrainingError(f"{path} is not of step {step}. Remove {path.parent} and train again.")
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(file.get_tensor(name))
    except (SafetensorError, FileNotFoundError, KeyError) as error:
        raise TrainingError(
            f"{path} cannot be read ({error}). Remove {path.parent} and train again."
        ) from error


def as_json(tuned: Tuned) -> dict[str, Any]:
    """What is told of a run, without the code lengths."""
    return {
        "steps": tuned.steps,
        "planned_steps": tuned.planned_steps,
        "best_step": tuned.best_step,
        "wall_s": round(tuned.wall_s, 1),
        "memory": {**asdict(tuned.memory), "total_bytes": tuned.memory.total_bytes},
        "peak_bytes": tuned.peak_bytes,
    }
