"""What becomes of each tensor of a model: decided from names and shapes, before a weight is read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from kbit.errors import ModelError, UsageError, did_you_mean
from kbit.formats import WeightFormat
from kbit.formats.trellis import has_rows
from kbit.models.checkpoint_names import CheckpointNames, match_names
from kbit.models.experts import FUSED, PROJECTIONS, is_fused, projection_shape, split_expert
from kbit.models.record import LayerRecord, Method, Role
from kbit.models.safetensors_header import TensorSpec
from kbit.models.safetensors_read import FolderTensors
from kbit.models.skeleton import Skeleton
from kbit.models.stored_parts import part_specs
from kbit.quantize.inputs import record_inputs
from kbit.quantize.shared_tables import share_tables

PLAIN_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A weight that is not packed, and why.

    Attributes:
        name: of the tensor.
        shape: of the tensor.
        stored_bits: what it takes.
        reason: `embedding`, `output layer`, `asked for`, `experts in one tensor`, `not a linear layer`,
            too few rows for the format, or the plain format that was asked for.
    """

    name: str
    shape: tuple[int, ...]
    stored_bits: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedTensor:
    """One tensor of the source: packed as `record`, or copied as `spec`.

    Attributes:
        source: its name there.
        record: how it is packed; None where it is copied.
        specs: what is written.
        piece: of a tensor that holds all experts: number of one, first row, row after the last; or None.
    """

    source: str
    record: LayerRecord | None
    specs: tuple[TensorSpec, ...]
    piece: tuple[int, int, int] | None = None

    def read(self, tensors: FolderTensors) -> torch.Tensor:
        """The tensor, or its piece, as the source has it."""
        if self.piece is None:
            return tensors.read(self.source)
        expert, first, last = self.piece
        return tensors.read_rows(self.source, expert, expert + 1)[0, first:last].contiguous()


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What was asked for.

    Attributes:
        format: of linear layers.
        embeddings, head: of the token embedding and the output layer; None keeps 16 bits.
        method: how codes are chosen.
        keep: names or patterns (`*.down_proj`) of layers to leave in 16 bits.
        layers: format of single linear layers, by name, in place of `format`.
    """

    format: WeightFormat
    embeddings: WeightFormat | None
    head: WeightFormat | None
    method: Method
    keep: Sequence[str] = ()
    layers: Mapping[str, WeightFormat] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Every tensor to write, the records, and what stays unpacked.

    Attributes:
        tensors: in the order of the source's files.
        kept: weights of two dimensions or more that are not packed.
        untied: the checkpoint holds the output layer apart although the config ties it.
    """

    tensors: tuple[PlannedTensor, ...]
    kept: tuple[Kept, ...]
    untied: bool

    @property
    def records(self) -> tuple[LayerRecord, ...]:
        """What is packed."""
        return tuple(t.record for t in self.tensors if t.record is not None)

    @property
    def specs(self) -> Iterator[TensorSpec]:
        """Every tensor of the new folder."""
        return (spec for tensor in self.tensors for spec in tensor.specs)

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(spec.size_bytes for spec in self.specs)


def make_plan(source: Path, skeleton: Skeleton, tensors: FolderTensors, choice: Choice) -> Plan:
    """Decide what becomes of each tensor.

    Args:
        source: the model's folder, for messages.
        skeleton: its architecture.
        tensors: its files.
        choice: what was asked for.

    Raises:
        ModelError: tensors that are missing, unknown, or of another shape than the architecture's.
        UsageError: a `keep` that fits no layer, or formats that a tied model cannot have.
    """
    names = match_names(skeleton.model, tensors.tensors)
    _check_names(source, skeleton, tensors, names)
    untied = _held_apart(skeleton, tensors, names)
    tied = {} if untied else dict(skeleton.tied)
    roles = _roles(skeleton)
    formats = _formats(skeleton, tied, choice)
    _check_keep(choice.keep, roles)
    _check_layers(choice.layers, roles)
    planned: list[PlannedTensor] = []
    kept: list[Kept] = []
    given = set(names.parameters.values())
    for name, stored in tensors.tensors.items():
        if name in names.ignored:
            continue
        target = names.parameters.get(name)
        if target in tied:
            if tied[target] in given:
                continue  # the same values a second time
            target = tied[target]
        expert = names.experts.get(name)
        pieces = _expert_pieces(skeleton, name, target, expert, roles)
        if pieces and not _kept_experts(pieces[0][0], choice, roles):
            for layer, piece in pieces:
                own = choice.layers.get(layer, choice.format)
                one = _packed(name, layer, "linear", own, choice.method, skeleton, stored.spec.dtype)
                planned.append(replace(one, piece=piece))
            continue
        module, _, leaf = (target or name).rpartition(".")
        role = roles.get(module) if target and leaf == "weight" else None
        asked_to_keep = role is not None and any(fnmatchcase(module, pattern) for pattern in choice.keep)
        fmt = formats[role] if role and not asked_to_keep else None
        if fmt is not None:
            fmt = choice.layers.get(module, fmt)
        small = fmt is not None and role is not None and _too_few_rows(skeleton, module, fmt)
        if target and role and fmt is not None and fmt.is_packed and not small:
            planned.append(_packed(name, module, role, fmt, choice.method, skeleton, stored.spec.dtype))
            continue
        dtype = _kept_dtype(stored.spec.dtype, fmt or choice.format)
        spec = TensorSpec(name=target or name, dtype=dtype, shape=stored.spec.shape)
        planned.append(PlannedTensor(source=name, record=None, specs=(spec,)))
        if len(spec.shape) > 1 and dtype.is_floating_point:
            kept.append(
                Kept(
                    name=spec.name,
                    shape=spec.shape,
                    stored_bits=8 * spec.size_bytes,
                    reason=_reason(
                        skeleton,
                        spec,
                        role,
                        asked=asked_to_keep or bool(pieces),
                        fmt=choice.format,
                        merged=name in names.merged,
                    )
                    if not small
                    else f"too few rows for {fmt}",
                )
            )
    return Plan(tensors=_with_shared_tables(planned), kept=tuple(kept), untied=untied)


def _with_shared_tables(planned: Sequence[PlannedTensor]) -> tuple[PlannedTensor, ...]:
    shared = share_tables(p.record for p in planned if p.record is not None)
    return tuple(
        p
        if p.record is None or shared[p.record.name] is p.record
        else replace(_planned(p.source, shared[p.record.name]), piece=p.piece)
        for p in planned
    )


def _planned(source: str, record: LayerRecord) -> PlannedTensor:
    return PlannedTensor(source=source, record=record, specs=tuple(part_specs(record).values()))


def _roles(skeleton: Skeleton) -> dict[str, Role]:
    """What can be packed: linear layers, the token embedding, the output layer."""
    from transformers.pytorch_utils import Conv1D

    roles: dict[str, Role] = {}
    for name, module in skeleton.model.named_modules():
        # A subclass may compute something else; those that only rename the product are told by forward.
        is_linear = isinstance(module, nn.Linear) and (
            type(module).forward is nn.Linear.forward or type(module).__name__ in SAME_AS_LINEAR
        )
        if name == skeleton.head:
            if is_linear:
                roles[name] = "head"
        elif is_linear or type(module) is Conv1D:
            roles[name] = "linear"
        elif name == skeleton.embedding and _is_look_up(module):
            roles[name] = "embedding"
        elif is_fused(module):
            count = cast(Any, module).gate_up_proj.shape[0]
            roles |= {f"{name}.{e}.{p}": "linear" for e in range(count) for p in PROJECTIONS}
    return roles


def _too_few_rows(skeleton: Skeleton, module: str, fmt: WeightFormat) -> bool:
    """A trellis runs down the columns, and a gate of one row has none to run down."""
    from transformers.pytorch_utils import Conv1D

    old = skeleton.model.get_submodule(module)
    rows = old.weight.shape[1 if isinstance(old, Conv1D) else 0]
    return fmt.datatype.window is not None and not has_rows(rows, fmt.bits)


def _expert_pieces(
    skeleton: Skeleton, name: str, target: str | None, expert: str | None, roles: Mapping[str, Role]
) -> list[tuple[str, tuple[int, int, int] | None]]:
    """The layers that a tensor of experts gives, each with its piece; none where it is no such tensor."""
    if expert is not None:
        return [(expert, None)] if expert in roles else []
    module, _, parameter = (target or "").rpartition(".")
    found: list[tuple[str, tuple[int, int, int] | None]] = []
    for projection in PROJECTIONS if f"{module}.0.{PROJECTIONS[0]}" in roles else ():
        fused = skeleton.model.get_submodule(module)
        holder, half = FUSED[projection]
        if holder == parameter:
            rows = projection_shape(fused, projection)[0]
            first = rows * (half or 0)
            found += [
                (f"{module}.{e}.{projection}", (e, first, first + rows))
                for e in range(fused.gate_up_proj.shape[0])
            ]
    return found


def _kept_experts(layer: str, choice: Choice, roles: Mapping[str, Role]) -> bool:
    """Whether all experts of a module stay in 16 bits: they load as one tensor, so one keeps all."""
    module = layer.rsplit(".", 2)[0]
    return any(
        not choice.layers.get(name, choice.format).is_packed
        or any(fnmatchcase(name, pattern) for pattern in choice.keep)
        for name in roles
        if name.startswith(f"{module}.")
    )


def _is_look_up(module: nn.Module) -> bool:
    """An embedding that gives its rows, as they are or times a constant."""
    return type(module) is nn.Embedding or type(module).__name__ in SCALED_EMBEDDINGS


# They multiply what they look up by `scalar_embed_scale`.
SCALED_EMBEDDINGS = frozenset(f"Gemma{number}TextScaledWordEmbedding" for number in ("", "2", "3"))
# Subclasses of nn.Linear that write the same product in another way.
SAME_AS_LINEAR = frozenset({"FalconLinear"})


def _formats(skeleton: Skeleton, tied: Mapping[str, str], choice: Choice) -> dict[Role, WeightFormat | None]:
    if tied and choice.head is not None and choice.head != choice.embeddings:
        raise UsageError(
            f"this model ties its output layer to its embedding: one tensor, so one format. Given head "
            f"{choice.head} and embeddings {choice.embeddings or '(16 bits)'}: give embeddings={choice.head}."
        )
    return {"linear": choice.format, "embedding": choice.embeddings, "head": choice.head}


def _packed(
    source: str,
    module: str,
    role: Role,
    fmt: WeightFormat,
    method: Method,
    skeleton: Skeleton,
    dtype: torch.dtype,
) -> PlannedTensor:
    from transformers.pytorch_utils import Conv1D

    expert = split_expert(module)
    if expert is not None and is_fused(fused := skeleton.model.get_submodule(expert[0])):
        (rows, columns), transposed = projection_shape(fused, expert[2]), False
    else:
        old = skeleton.model.get_submodule(module)
        rows, columns = old.weight.shape
        transposed = isinstance(old, Conv1D)
    record = LayerRecord(
        name=module,
        shape=(columns, rows) if transposed else (rows, columns),
        role=role,
        format=fmt,
        method=method,
        transposed=transposed,
    )
    return _planned(source, record_inputs(record, method.name, dtype))


def _kept_dtype(dtype: torch.dtype, fmt: WeightFormat) -> torch.dtype:
    """Floating point goes to the plain format, or else to 16 bits; a 16-bit type stays what it is."""
    if not dtype.is_floating_point:
        return dtype
    if not fmt.is_packed:
        return PLAIN_TYPES[fmt.datatype.name]
    return dtype if dtype.itemsize == 2 else torch.bfloat16


def _reason(
    skeleton: Skeleton, spec: TensorSpec, role: Role | None, *, asked: bool, fmt: WeightFormat, merged: bool
) -> str:
    if not fmt.is_packed:
        return f"{fmt} asked for"
    if asked:
        return "asked for"
    if role is not None:
        return {"embedding": "embedding", "head": "output layer", "linear": "asked for"}[role]
    if skeleton.group_of_tensor(spec.name) == "embeddings":
        return "embedding"
    return "experts in one tensor" if merged or len(spec.shape) == 3 else "not a linear layer"


def _check_keep(keep: Sequence[str], roles: Mapping[str, Any]) -> None:
    for pattern in keep:
        if not any(fnmatchcase(name, pattern) for name in roles):
            raise UsageError(
                f"keep {pattern!r} fits no layer: {did_you_mean(pattern, list(roles)[:12])} "
                "A pattern may have *, such as '*.down_proj'."
            )


def _check_layers(layers: Mapping[str, WeightFormat], roles: Mapping[str, Role]) -> None:
    for name in layers:
        if roles.get(name) != "linear":
            raise UsageError(
                f"the plan names {name!r}, which is no linear layer of this model: "
                f"{did_you_mean(name, [n for n, role in roles.items() if role == 'linear'][:12])}"
            )


def _check_names(source: Path, skeleton: Skeleton, tensors: FolderTensors, names: CheckpointNames) -> None:
    architecture = type(skeleton.model).__name__
    if names.unknown:
        raise ModelError(
            f"{source}: {len(names.unknown)} tensors have no place in {architecture}, such as "
            f"{names.unknown[0]!r}. config.json may describe another model; nothing was written."
        )
    if names.missing:
        raise ModelError(
            f"{source}: {len(names.missing)} tensors of {architecture} are missing, such as "
            f"{names.missing[0]!r}. Download the model again; nothing was written."
        )
    wanted = skeleton.model.state_dict()
    merged: dict[tuple[str, ...], int] = {}
    for name, stored in tensors.tensors.items():
        spec = stored.spec
        if spec.dtype.is_floating_point and spec.dtype.itemsize == 1:
            raise ModelError(
                f"{source}: tensor {name!r} is {spec.dtype}: the model is quantised already. Start from "
                "its 16-bit version."
            )
        if name in names.parameters:
            shape = tuple(wanted[names.parameters[name]].shape)
            if shape != spec.shape:
                raise ModelError(
                    f"{source}: tensor {name!r} is {list(spec.shape)}, and config.json makes it "
                    f"{list(shape)}. Correct config.json; nothing was written."
                )
        elif name in names.merged:
            targets = names.merged[name]
            merged[targets] = merged.get(targets, 0) + spec.size_bytes // spec.dtype.itemsize
    for targets, count in merged.items():
        expected = sum(wanted[target].numel() for target in targets)
        if count != expected:
            raise ModelError(
                f"{source}: the tensors that make {targets[0]!r} have {count} weights, and {architecture} "
                f"has {expected} there. Some are missing; nothing was written."
            )


def _held_apart(skeleton: Skeleton, tensors: FolderTensors, names: CheckpointNames) -> bool:
    """Whether the files hold a tied tensor twice with different values: Transformers then does not tie."""
    source_of = {target: name for name, target in names.parameters.items()}
    for target, source in skeleton.tied.items():
        if target in source_of and source in source_of:
            first, second = tensors.chunks(source_of[target]), tensors.chunks(source_of[source])
            if any(a != b for a, b in zip(first, second, strict=False)):
                return True
    return False
