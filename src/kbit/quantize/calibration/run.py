"""Codes for every layer of a model, block by block, each block seeing what the ones before it became."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kbit.errors import FormatError, ModelError
from kbit.formats import PackedTensor, decode
from kbit.models.content import content_hash
from kbit.models.inputs import InputTransform
from kbit.models.load import load
from kbit.models.record import LayerRecord
from kbit.quantize.calibration.blocks import Blocks, compute_in_float32
from kbit.quantize.calibration.hidden import Batch, HiddenFile, batches, each
from kbit.quantize.calibration.inputs import gather, input_groups
from kbit.quantize.calibration.text import Calibration
from kbit.quantize.calibration.workfolder import WorkFolder
from kbit.quantize.codes.choose import Chosen, Moments, Recipe, choose_codes
from kbit.quantize.rotation import record_transform

Progress = Callable[[int, int, str], None]
# Raised by a change that lets the same inputs give other codes.
VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerNote:
    """How the codes of one layer came out.

    Attributes:
        error: squared error of the output on the calibration inputs, mean over tokens, summed over rows.
        nearest_error: the same with nearest entries and the range's scales.
        damping: share of the mean diagonal added to the Hessian.
        damping_raised: that was more than asked for.
        dead_inputs: inputs that were zero for every token.
        tokens: that reached the layer.
    """

    error: float
    nearest_error: float
    damping: float
    damping_raised: bool
    dead_inputs: int
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrated:
    """Codes of the layers that calibration reached, in a work folder.

    Attributes:
        work: where they lie.
        notes: of each layer.
    """

    work: WorkFolder
    notes: Mapping[str, LayerNote]

    def packed(self, record: LayerRecord) -> PackedTensor:
        """The codes of a layer."""
        stage = next(s for s in self.work.done if record.name in self.work.notes.get(s, {}))
        prefix = f"{record.name}."
        parts = {n.removeprefix(prefix): t for n, t in self.work.parts(stage).items() if n.startswith(prefix)}
        return PackedTensor(format=record.format, shape=record.shape, **parts)


def calibrate(
    folder: Path,
    records: Sequence[LayerRecord],
    calibration: Calibration,
    recipe: Recipe,
    work_folder: Path,
    *,
    progress: Progress | None = None,
) -> Calibrated:
    """Choose the codes of every linear layer in the decoder layers, and of an output layer of its own.

    Memory holds the model as it is stored (mapped from its files), two copies of one block in float32, the
    second moments of one group of layers, and a batch of hidden states; the rest lies in the work folder.

    Args:
        folder: the 16-bit model.
        records: what is packed. Those of other roles, or outside the decoder layers, are left alone.
        calibration: the text.
        recipe: how codes are chosen.
        work_folder: what is done is kept here; a second call with the same arguments goes on from it.
        progress: called with layers done, layers in all, and the name of the next.

    Raises:
        ModelError: an architecture without a list of decoder layers, or NaN in its hidden states.
        FormatError: a format that cannot hold a weight.
    """
    model = load(folder)
    blocks = Blocks(model)
    inside = layers_of(blocks, records)
    head = next((r for r in records if r.role == "head"), None)
    total = sum(map(len, inside)) + (head is not None)
    compute_in_float32(model, blocks.layers)
    work = WorkFolder(work_folder, _identity(folder, records, calibration, recipe))
    made = batches(calibration.windows)
    run = _Run(blocks, made, calibration.tokens, recipe, work, progress, total)
    run.embed()
    for index, layers in enumerate(inside):
        run.block(index, layers)
    if head is not None:
        run.head(head)
    notes = {
        name: LayerNote(**note) for stage in work.done for name, note in work.notes.get(stage, {}).items()
    }
    return Calibrated(work=work, notes=notes)


class _Run:
    """One pass through a model; what it has done is in its work folder."""

    def __init__(
        self,
        blocks: Blocks,
        made: Sequence[Batch],
        tokens: int,
        recipe: Recipe,
        work: WorkFolder,
        progress: Progress | None,
        total: int,
    ) -> None:
        self.blocks, self.made, self.tokens = blocks, made, tokens
        self.recipe, self.work, self.progress, self.total = recipe, work, progress, total
        self.count = 0

    def embed(self) -> None:
        if "embed" in self.work.done:
            return
        file: HiddenFile | None = None
        for batch in self.made:
            hidden = self.blocks.embed(batch.ids)
            file = file or self._file("changed", 0, hidden.shape[-1])
            file.write(batch, hidden)
        if file is not None:
            file.flush()
            self.work.finish("embed", {}, {"width": file.width})

    def block(self, index: int, layers: Sequence[tuple[str, LayerRecord]]) -> None:
        stage = f"block-{index:05}"
        if stage in self.work.done:
            self.count += len(layers)
            return
        changed = self.blocks.copy_of(index)
        follow = self.recipe.follow and index > 0
        original = self.blocks.copy_of(index) if self.recipe.follow else None
        files = self._file("changed", index), self._file("original", index) if follow else None
        # Both streams begin as one.
        streams = (files[0], files[1] or (files[0] if self.recipe.follow else None))
        parts: dict[str, Tensor] = {}
        notes: dict[str, Any] = {}
        by_name = dict(layers)
        first = self.made[0]
        groups = input_groups(
            self.blocks, index, changed, list(by_name), first, files[0].read(first)
        ) if layers else []  # fmt: skip
        for group in groups:
            self._tell(by_name[group.names[0]].name)
            moments = gather(self.blocks, index, group, changed, original, self.made, streams)
            for name in group.names:
                record, module = by_name[name], changed.get_submodule(name)
                if moments is not None:
                    inputs = record_transform(record)
                    weight = inputs.apply(weight_of(module, record))
                    chosen = _choose(record, weight, through(moments, inputs), self.recipe)
                    set_weight(module, record, inputs.dense_weight(decode(chosen.packed)))
                    parts |= {f"{record.name}.{p}": t for p, t in chosen.packed.parts().items()}
                    notes[record.name] = asdict(_note(chosen, moments.tokens))
                self.count += 1
        self._advance(index, changed, original, streams)
        self.work.finish(stage, parts, {stage: notes})
        for which in ("changed", "original"):
            self._path(which, index).unlink(missing_ok=True)

    def head(self, record: LayerRecord) -> None:
        if "head" in self.work.done:
            self.count += 1
            return
        self._tell(record.name)
        last = len(self.blocks)
        files = [self._file("changed", last)]
        if self.recipe.follow:
            files.append(self._file("original", last))
        width = record.shape[1]
        hessian = torch.zeros(width, width, dtype=torch.float64)
        cross = torch.zeros_like(hessian) if self.recipe.follow else None
        for batch, hidden in each(self.made, *files):
            now = self.blocks.finish(batch.ids, hidden[0]).reshape(-1, width)
            hessian += (now.T @ now).double()
            if cross is not None:
                before = self.blocks.finish(batch.ids, hidden[1]).reshape(-1, width)
                cross += (before.T @ now).double()
        moments = Moments(hessian=hessian, cross=cross, tokens=self.tokens)
        weight = self.blocks.model.get_output_embeddings().weight.detach().float()
        chosen = _choose(record, weight, moments, self.recipe)
        parts = {f"{record.name}.{p}": t for p, t in chosen.packed.parts().items()}
        self.work.finish("head", parts, {"head": {record.name: asdict(_note(chosen, moments.tokens))}})
        self.count += 1

    def _advance(
        self,
        index: int,
        changed: nn.Module,
        original: nn.Module | None,
        streams: tuple[HiddenFile, HiddenFile | None],
    ) -> None:
        """Hidden states after the block, in the model so far and in the original one."""
        for which, block, file in (("changed", changed, streams[0]), ("original", original, streams[1])):
            if block is None or file is None:
                continue
            target = self._file(which, index + 1, file.width)
            for batch, (hidden,) in each(self.made, file):
                out = self.blocks.run(index, block, batch.ids, hidden)
                if not bool(torch.isfinite(out).all()):
                    raise ModelError(
                        f"layer {index} gives NaN or infinite hidden states on the calibration text. Repair "
                        "the model, or choose codes without calibration (--method nearest)."
                    )
                target.write(batch, out)
            target.flush()

    def _path(self, which: str, index: int) -> Path:
        return self.work.folder / f"{which}-{index:05}.f32"

    def _file(self, which: str, index: int, width: int | None = None) -> HiddenFile:
        known = width or int(self.work.notes["width"])
        return HiddenFile(self._path(which, index), self.tokens, known, new=width is not None)

    def _tell(self, name: str) -> None:
        if self.progress is not None:
            self.progress(self.count, self.total, name)


def layers_of(blocks: Blocks, records: Sequence[LayerRecord]) -> list[list[tuple[str, LayerRecord]]]:
    """For each decoder layer the linear layers in it, by their name within it."""
    found: list[list[tuple[str, LayerRecord]]] = [[] for _ in range(len(blocks))]
    for record in records:
        if record.role == "linear" and record.name.startswith(f"{blocks.name}."):
            index, _, name = record.name.removeprefix(f"{blocks.name}.").partition(".")
            found[int(index)].append((name, record))
    return found


def through(moments: Moments, inputs: InputTransform) -> Moments:
    """Second moments of inputs after a layer's rotation: R H R^T, and likewise for the cross moments."""
    if inputs.signs is None:
        return moments

    def both(matrix: Tensor) -> Tensor:
        return inputs.apply(inputs.apply(matrix).T).T.contiguous()

    return Moments(
        hessian=both(moments.hessian),
        cross=None if moments.cross is None else both(moments.cross),
        tokens=moments.tokens,
    )


def _choose(record: LayerRecord, weight: Tensor, moments: Moments, recipe: Recipe) -> Chosen:
    try:
        return choose_codes(weight, record.format, moments, recipe)
    except FormatError as error:
        raise FormatError(f"layer {record.name!r}: {error}") from error
    except ValueError as error:
        raise ModelError(
            f"layer {record.name!r}: {error}. Give other calibration text, or use --method nearest."
        ) from error


def weight_of(module: nn.Module, record: LayerRecord) -> Tensor:
    """The weight as it is coded, float32 [outputs, inputs]."""
    weight: Any = module.weight
    values: Tensor = weight.detach().float()
    return values.T.contiguous() if record.transposed else values


@torch.no_grad()
def set_weight(module: nn.Module, record: LayerRecord, values: Tensor) -> None:
    """Give a dense module another weight, float32 [outputs, inputs]."""
    weight: Any = module.weight
    weight.copy_(values.T if record.transposed else values)


def _note(chosen: Chosen, tokens: int) -> LayerNote:
    return LayerNote(
        error=chosen.error,
        nearest_error=chosen.nearest_error,
        damping=chosen.damping,
        damping_raised=chosen.damping_raised,
        dead_inputs=chosen.dead_inputs,
        tokens=tokens,
    )


def _identity(
    folder: Path, records: Sequence[LayerRecord], calibration: Calibration, recipe: Recipe
) -> dict[str, Any]:
    """All that codes follow from."""
    return {
        "version": VERSION,
        "model": content_hash(folder),
        "records": [[r.name, str(r.format), repr(r.rotation), r.kept_inputs] for r in records],
        "windows": calibration.windows_hash,
        "recipe": json.loads(json.dumps(asdict(recipe))),
    }
