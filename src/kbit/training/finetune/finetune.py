"""From a model and examples to a fine-tuned model on disk."""

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from kbit.coders.logits import max_positions
from kbit.corpus.example import Example
from kbit.errors import ModelError, TrainingError
from kbit.information import Estimate, gain
from kbit.models import load, load_tokenizer, locate, open_model
from kbit.models.adapter import RECORD
from kbit.training.evaluate import write_lengths
from kbit.training.finetune.encode import EncodedSet, encode_examples
from kbit.training.finetune.lora import make_trainable, trained
from kbit.training.finetune.memory import Memory
from kbit.training.finetune.run import Tuned, TuningStep, as_json, tune
from kbit.training.finetune.settings import NOT_IN_LOSSES, Tuning, check_tuning
from kbit.training.finetune.write import write_adapter, write_model
from kbit.training.run import LOG

VERSION = 1
LENGTHS = "held-out-bits.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuned:
    """A finished fine-tuning.

    Attributes:
        out: the folder that was written.
        record: its `finetune.json`.
        done_before: it was there already, of the same model, examples and settings.
    """

    out: Path
    record: Mapping[str, Any]
    done_before: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What is known before the first step.

    Attributes:
        steps: that will be done, unless training stops early.
        trained_parameters: weights that move.
        memory: tensors at once.
        cut, dropped: training examples that were too long.
    """

    steps: int
    trained_parameters: int
    memory: Memory
    cut: int
    dropped: int


def finetune(
    model: str | Path,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    tuning: Tuning,
    out: Path,
    *,
    merge: bool = False,
    weight_format: str | None = None,
    overwrite: bool = False,
    report: Callable[[TuningStep], None] | None = None,
    told: Callable[[Start], None] | None = None,
) -> FineTuned:
    """Fine-tune a model; what was begun is resumed, what is finished is kept.

    Args:
        model: a folder or a hub id, 16-bit or k-bit.
        examples: to learn.
        held_out: to decide when to stop, and to tell what was gained.
        tuning: how.
        out: the folder to write: an adapter, or a model where every weight was trained or `merge` is asked.
        merge: write a model with the adapter merged into the weights.
        weight_format: quantise that model to this format.
        overwrite: replace what another fine-tuning left at `out`.
        report: called after each step.
        told: called before the first step.

    Raises:
        TrainingError: a setting is out of range, an example is too long, a label is unknown to training, or
            the run cannot go on.
        ModelError: no such model, or `out` is taken.
    """
    check_tuning(tuning, "fine-tuning")
    if weight_format is not None and tuning.method == "lora" and not merge:
        raise TrainingError("a format is for a whole model: merge the adapter too, or leave the format out.")
    folder = locate(model)
    opened = open_model(folder)
    if opened.adapter is not None:
        raise ModelError(
            f"{folder}: is an adapter already. Merge it (kbit finetune --merge), or fine-tune its model."
        )
    tokenizer = load_tokenizer(folder)
    longest = _longest(opened.config, tuning)
    training = encode_examples(examples, tokenizer, tuning, longest=longest)
    watched = encode_examples(held_out, tokenizer, tuning, longest=longest)
    _check_labels(training, watched)
    identity = _identity(opened.content_hash, training, watched, tuning)
    kind = {"merge": merge, "format": weight_format}
    known = _known(out, identity, kind)
    if known is not None:
        return FineTuned(out=out, record=known, done_before=True)
    if out.exists() and not overwrite:
        raise ModelError(
            f"{out}: exists already, and is not what these settings give. Choose another --out, or "
            "--overwrite."
        )
    loaded = load(folder, dtype=_dtype(tuning))
    make_trainable(loaded, tuning)
    count = sum(parameter.numel() for parameter in trained(loaded))

    def start(memory: Memory, steps: int) -> None:
        if told is not None:
            told(
                Start(
                    steps=steps,
                    trained_parameters=count,
                    memory=memory,
                    cut=training.cut,
                    dropped=training.dropped,
                )
            )

    work = out.with_name(out.name + ".work")
    tuned = tune(loaded, training, watched, tuning, folder=work, identity=identity, report=report, told=start)
    record = _record(
        tuned, tuning, training, watched, identity=identity, base=str(model), base_hash=opened.content_hash
    )
    record |= {"trained_parameters": count, **kind}
    _write(out, loaded, str(model), folder, record, tuning, merge, weight_format, overwrite)
    shutil.copyfile(work / LOG, out / LOG)
    write_lengths(out / LENGTHS, tuned.after.lengths)
    shutil.rmtree(work)
    return FineTuned(out=out, record=record)


def _write(
    out: Path,
    model: Any,
    given: str,
    folder: Path,
    record: dict[str, Any],
    tuning: Tuning,
    merge: bool,
    weight_format: str | None,
    overwrite: bool,
) -> None:
    if tuning.method == "lora" and not merge:
        base = str(folder.resolve()) if Path(given).expanduser().is_dir() else given
        write_adapter(out, model, base=base, base_folder=folder, record=record, overwrite=overwrite)
    else:
        write_model(
            out,
            model,
            base_folder=folder,
            record=record,
            weight_format=weight_format,
            overwrite=overwrite,
        )


def _dtype(tuning: Tuning) -> torch.dtype | None:
    """Trained weights are float32; frozen ones stay as stored, unless products are to be float32 too."""
    return torch.float32 if tuning.method == "full" or tuning.precision == "fp32" else None


def _longest(config: Mapping[str, Any], tuning: Tuning) -> int:
    class _Config:
        pass

    read = _Config()
    read.__dict__.update(config.get("text_config", config))
    context = max_positions(read)
    wanted = tuning.longest_tokens
    if wanted is not None and context is not None and wanted > context:
        raise TrainingError(f"longest_tokens is {wanted}; the model reads at most {context}.")
    return wanted or context or 2048


def _check_labels(training: EncodedSet, held_out: EncodedSet) -> None:
    """Two classes, and no held-out one that training never shows."""
    labels = training.labels
    if labels and len(labels) < 2:
        first = training.examples[0].source
        raise TrainingError(
            f"{first} and all others have the label {labels[0]!r}: one class teaches nothing."
        )
    for example in held_out.examples:
        if (example.label is None) != (not labels) or (labels and example.label not in labels):
            told = "no label" if example.label is None else f"the label {example.label!r}"
            allowed = ", ".join(labels) or "examples without labels"
            raise TrainingError(f"{example.source}: has {told}; the training examples have {allowed}.")


def _identity(base_hash: str, training: EncodedSet, held_out: EncodedSet, tuning: Tuning) -> str:
    """Hash of all that decides the losses."""
    digest = hashlib.sha256(json.dumps([VERSION, base_hash]).encode())
    settings = {key: value for key, value in asdict(tuning).items() if key not in NOT_IN_LOSSES}
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for part in (training, held_out):
        digest.update(f"\n{len(part.examples)}\n".encode())
        for example in part.examples:
            digest.update(f"{example.length} {example.label}\n".encode())
            digest.update(example.tokens.tobytes() + example.answer.tobytes())
    return digest.hexdigest()


def _known(out: Path, identity: str, kind: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        record = json.loads((out / RECORD).read_text())
    except (OSError, ValueError):
        return None
    same = isinstance(record, dict) and record.get("run") == identity
    return record if same and all(record.get(key) == value for key, value in kind.items()) else None


def _record(
    tuned: Tuned,
    tuning: Tuning,
    training: EncodedSet,
    held_out: EncodedSet,
    *,
    identity: str,
    base: str,
    base_hash: str,
) -> dict[str, Any]:
    return {
        "run": identity,
        "base": base,
        "base_content_hash": base_hash,
        "tuning": asdict(tuning),
        "examples": len(training.examples),
        "cut": training.cut,
        "dropped": training.dropped,
        "tokens": training.tokens,
        "answer_tokens": training.answer_tokens,
        "labels": {label: sum(e.label == label for e in training.examples) for label in training.labels},
        **as_json(tuned),
        "held_out": {
            "examples": len(held_out.examples),
            "loss_before": tuned.before.loss,
            "loss": tuned.after.loss,
            "exact_before": tuned.before.exact,
            "exact": tuned.after.exact,
            "bits_per_byte_before": _ratio(tuned.before.lengths),
            "bits_per_byte": _ratio(tuned.after.lengths),
            **_gain(gain(tuned.after.lengths, tuned.before.lengths, seed=0)),
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "threads": torch.get_num_threads(),
    }


def _ratio(lengths: Sequence[Any]) -> float:
    return float(sum(item.bits for item in lengths) / sum(item.bytes for item in lengths))


def _gain(estimate: Estimate) -> dict[str, Any]:
    return {"gain_bits_per_byte": estimate.value, "gain_ci95": estimate.ci95}
