"""A whole model to k bits, tensor by tensor."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from kbit import __version__
from kbit.errors import FormatError, ModelError, UsageError
from kbit.formats import WeightFormat, parse_format
from kbit.models.atomic_folder import new_folder
from kbit.models.load import check_tensors
from kbit.models.locate import locate, read_config
from kbit.models.record import Method
from kbit.models.record_config import records_to_config
from kbit.models.safetensors_read import FolderTensors, read_folder_tensors
from kbit.models.size import StoredBits, stored_bits
from kbit.models.skeleton import build_skeleton
from kbit.models.write import MAX_SHARD_BYTES, FolderWriter, copy_tokenizer, write_config, write_readme
from kbit.quantize.calibration.run import Calibrated, LayerNote, calibrate
from kbit.quantize.calibration.seen import write_calibration
from kbit.quantize.calibration.text import Calibration
from kbit.quantize.coded import CodedWeights
from kbit.quantize.method import METHODS, QuantizationMethod, method_named
from kbit.quantize.mixed.plan_file import MixedPlan, write_plan
from kbit.quantize.plan import Choice, Kept, Plan, PlannedTensor, make_plan
from kbit.quantize.rotation import record_signs
from kbit.quantize.shared_tables import fit_shared_tables

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeReport:
    """What was written.

    Attributes:
        out: the folder.
        format, embeddings, head: as stored; None for what stayed in 16 bits; `mixed` where layers differ.
        method: how codes were chosen.
        stored_bits: of body, embeddings and whole.
        size_bytes: of all files of the folder.
        packed_layers: how many weights are packed.
        kept: weights that are not packed, and why.
        untied: the source held the output layer apart although its config ties it; the new config does not.
        notes: how each calibrated layer came out; none without calibration.
    """

    out: Path
    format: str
    embeddings: str | None
    head: str | None
    method: Method
    stored_bits: StoredBits
    size_bytes: int
    packed_layers: int
    kept: tuple[Kept, ...]
    untied: bool
    notes: Mapping[str, LayerNote] = field(default_factory=dict)


def quantize_model(
    source: str | Path,
    out: str | Path,
    *,
    format: str | WeightFormat,  # noqa: A002 (the word of the domain)
    method: str = "nearest",
    embeddings: str | WeightFormat | None = None,
    head: str | WeightFormat | None = None,
    keep: Sequence[str] = (),
    calibration: Calibration | None = None,
    layers: MixedPlan | None = None,
    overwrite: bool = False,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Progress | None = None,
) -> QuantizeReport:
    """Write a model at k bits a weight, or a plain copy in bf16, fp16 or fp32.

    Memory holds one tensor of the source and its codes; with calibration, what `calibrate` says. The folder
    appears whole or not at all. A calibration that is cut off goes on where it was when it is begun again:
    what it has done lies beside `out` until then.

    Args:
        source: a 16- or 32-bit model: a folder or a hub id.
        out: the folder to write; it must not exist.
        format: of linear layers, such as `nf4:b64`.
        method: how codes are chosen (see `METHODS`).
        embeddings: format of the token embedding; None keeps 16 bits. A tied output layer follows it.
        head: format of the output layer; None keeps 16 bits.
        keep: layers to leave in 16 bits, by name or pattern (`*.down_proj`).
        calibration: the text of a calibrated method.
        layers: formats of single layers, in place of `format`; written beside the model as `plan.json`.
        overwrite: replace a model folder at `out`.
        max_shard_bytes: of one safetensors file; a larger model is split.
        progress: called with tensors done, tensors in all, and the name of the next.

    Raises:
        FormatError: a format that does not exist or cannot hold a tensor.
        UsageError: a method or a `keep` that does not exist; a calibrated method without text, or text for
            one that reads none.
        ModelError: a source that is no 16-bit model, is damaged or holds NaN or infinite weights; an
            `out` that exists or is the source; a full disk.
    """
    chosen = method_named(method)
    _check_calibration(chosen, calibration, _format(format))
    choice = Choice(
        format=_format(format),
        embeddings=None if embeddings is None else _format(embeddings),
        head=None if head is None else _format(head),
        method=Method(name=chosen.name, version=chosen.version),
        keep=tuple(keep),
        layers={} if layers is None else layers.layers,
    )
    folder, target = locate(source), Path(out).expanduser()
    _check_places(folder, target)
    if folder.is_file():
        raise ModelError(
            f"{folder}: is a GGUF file, which kbit measures as it is. To quantise, start from the model it "
            "was made of."
        )
    config = dict(read_config(folder))
    if config.get("quantization_config") is not None:
        how = config["quantization_config"].get("quant_method", "an unknown method")
        raise ModelError(f"{folder}: is quantised already ({how}). Start from its 16-bit version.")
    skeleton, tensors = build_skeleton(folder), read_folder_tensors(folder)
    plan = make_plan(folder, skeleton, tensors, choice)
    if choice.format.is_packed and not plan.records:
        raise ModelError(
            f"{folder}: no layer of {type(skeleton.model).__name__} would be packed as {choice.format}. "
            "kbit packs linear layers; ask for bf16 if a copy is what you want."
        )
    calibrated = None
    if calibration is not None:
        plan, calibrated = _calibrate(folder, target, tensors, plan, chosen, calibration, overwrite, progress)
    with new_folder(target, overwrite=overwrite, needed_bytes=plan.size_bytes) as temporary:
        write_config(temporary, _new_config(config, plan, choice))
        write_readme(temporary, "mixed" if layers else str(choice.format), packed=bool(plan.records))
        copy_tokenizer(folder, temporary)
        if calibration is not None and calibrated is not None:
            write_calibration(temporary, calibration, calibrated.notes)
        if layers is not None:
            write_plan(temporary, layers)
        coded = CodedWeights(tensors, plan, skeleton, config)
        _write_tensors(temporary, folder, tensors, plan, chosen, calibrated, coded, max_shard_bytes, progress)
        check_tensors(temporary)
        bits = stored_bits(temporary)
        size_bytes = sum(p.stat().st_size for p in temporary.rglob("*") if p.is_file())
    if calibrated is not None:
        calibrated.work.remove()
    return QuantizeReport(
        out=target,
        format="mixed"
        if len({str(r.format) for r in plan.records if r.role == "linear"}) > 1
        else str(choice.format),
        embeddings=None if choice.embeddings is None else str(choice.embeddings),
        head=None if choice.head is None else str(choice.head),
        method=choice.method,
        stored_bits=bits,
        size_bytes=size_bytes,
        packed_layers=len(plan.records),
        kept=plan.kept,
        untied=plan.untied,
        notes={} if calibrated is None else calibrated.notes,
    )


def _check_calibration(
    method: QuantizationMethod, calibration: Calibration | None, fmt: WeightFormat
) -> None:
    if method.is_calibrated and calibration is None:
        raise UsageError(
            f"the method {method.name} needs a text to calibrate on: give one with --calibrate, or let the "
            "model write its own with --calibrate-own-text."
        )
    if calibration is not None and fmt.table != "tensor":
        raise UsageError(
            f"{fmt}: a calibrated method chooses codes layer by layer, and cannot share a table among them. "
            f"Leave out 'table-{fmt.table}'."
        )
    if calibration is not None and not method.is_calibrated:
        calibrated = ", ".join(name for name, row in METHODS.items() if row.is_calibrated)
        raise UsageError(
            f"the method {method.name} reads no text, and calibration text is given. Choose a method that "
            f"does ({calibrated}), or give no text."
        )


def _calibrate(
    folder: Path,
    target: Path,
    tensors: FolderTensors,
    plan: Plan,
    method: QuantizationMethod,
    calibration: Calibration,
    overwrite: bool,
    progress: Progress | None,
) -> tuple[Plan, Calibrated]:
    """The codes of what calibration reaches, and the plan with each record's method as it was."""
    if method.recipe is None:
        raise UsageError(f"the method {method.name} is not calibrated.")
    if target.exists() and not overwrite:
        with new_folder(target):
            pass  # refused here, before hours of work
    # Before a model computes with them, hours before they are written.
    for planned in plan.tensors:
        _check_finite(folder, planned.source, planned.read(tensors))
    work = target.parent / f".{target.name}.calibration"
    calibrated = calibrate(folder, plan.records, calibration, method.recipe, work, progress=progress)
    used = Method(
        name=method.name,
        version=method.version,
        seed=calibration.seed,
        calibration=calibration.hash,
        options={"tokens": calibration.tokens, "context": calibration.context, "text": calibration.kind},
    )
    nearest = Method(name="nearest", version=METHODS["nearest"].version)
    made = tuple(
        planned
        if planned.record is None
        else replace(
            planned,
            record=replace(
                planned.record, method=used if planned.record.name in calibrated.notes else nearest
            ),
        )
        for planned in plan.tensors
    )
    return replace(plan, tensors=made), calibrated


def _format(value: str | WeightFormat) -> WeightFormat:
    return value if isinstance(value, WeightFormat) else parse_format(value)


def _check_places(source: Path, out: Path) -> None:
    here, there = source.resolve(), out.resolve()
    if here == there:
        raise ModelError(f"{out}: is the model that is read. Give another folder to write to.")
    if here in there.parents or there in here.parents:
        raise ModelError(
            f"{out}: the folder read and the folder written lie in each other. Give another folder."
        )


def _new_config(config: dict[str, Any], plan: Plan, choice: Choice) -> dict[str, Any]:
    kept = {spec.dtype for t in plan.tensors if t.record is None for spec in t.specs}
    floating = sorted(str(d).removeprefix("torch.") for d in kept if d.is_floating_point)
    config = {key: value for key, value in config.items() if key not in ("torch_dtype", "dtype")}
    # Of two 16-bit types in one checkpoint bfloat16 is named: its range holds both.
    config["dtype"] = floating[0] if floating else "bfloat16"
    if plan.untied:
        config["tie_word_embeddings"] = False
    if plan.records:
        config["quantization_config"] = records_to_config(plan.records, kbit_version=__version__)
    return config


def _write_tensors(
    out: Path,
    source: Path,
    tensors: FolderTensors,
    plan: Plan,
    method: QuantizationMethod,
    calibrated: Calibrated | None,
    coded: CodedWeights,
    max_shard_bytes: int,
    progress: Progress | None,
) -> None:
    try:
        tables = fit_shared_tables(plan.records, lambda record: coded.coded(record).weight)
    except FormatError as error:
        raise FormatError(f"{source}: {error}") from error
    with FolderWriter(out, plan.specs, max_shard_bytes=max_shard_bytes) as writer:
        for done, planned in enumerate(plan.tensors):
            if progress is not None:
                progress(done, len(plan.tensors), planned.source)
            weight = planned.read(tensors)
            _check_finite(source, planned.source, weight)
            if planned.record is None:
                (spec,) = planned.specs
                writer.write(spec.name, _cast(source, planned, weight, spec.dtype))
            else:
                if planned.record.transposed:
                    weight = weight.T.contiguous()
                parts = _parts(source, planned, weight, method, calibrated, coded, tables)
                for spec in planned.specs:
                    writer.write(spec.name, parts[spec.name.rpartition(".")[2]])
            del weight
        if progress is not None:
            progress(len(plan.tensors), len(plan.tensors), "")


def _parts(
    source: Path,
    planned: PlannedTensor,
    weight: torch.Tensor,
    method: QuantizationMethod,
    calibrated: Calibrated | None,
    coded: CodedWeights,
    tables: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Everything to store of one layer, by part."""
    record = planned.record
    if record is None:
        raise ValueError(f"{planned.source} is not packed")
    if calibrated is not None and record.name in calibrated.notes:
        signs = record_signs(record)
        return {**calibrated.packed(record).parts(), **({} if signs is None else {"signs": signs})}
    changed = coded.coded(record, weight)
    try:
        packed = method.encode(changed.weight, record.format, tables.get(record.name))
    except FormatError as error:
        raise FormatError(f"{source}: tensor {planned.source!r}: {error}") from error
    return {**packed.parts(), **changed.parts}


def _check_finite(source: Path, name: str, weight: torch.Tensor) -> None:
    if not weight.is_floating_point() or not weight.numel():
        return
    # The least and the greatest show any NaN or infinity, without a mask as large as the tensor.
    low, high = weight.aminmax()
    if torch.isfinite(low) and torch.isfinite(high):
        return
    flat = weight.reshape(-1)
    first = int(torch.nonzero(~torch.isfinite(flat))[0])
    index = [int(i) for i in torch.unravel_index(torch.tensor(first), weight.shape)]
    raise ModelError(
        f"{source}: tensor {name!r} holds {float(flat[first])} at {index}: such a model gives no numbers. "
        "Download it again, or repair it; nothing was written."
    )


def _cast(source: Path, planned: PlannedTensor, weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    cast = weight.to(dtype)
    if cast.is_floating_point() and cast.numel() and not torch.isfinite(torch.stack(cast.aminmax())).all():
        raise ModelError(
            f"{source}: tensor {planned.source!r} has weights of up to {float(weight.abs().max()):.4g}, "
            f"beyond {dtype}. Ask for bf16 or fp32; nothing was written."
        )
    return cast
