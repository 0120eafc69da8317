"""Methods that change what a layer's codes multiply: rotated inputs, inputs kept in 16 bits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kbit.formats.rotation import unpack_signs
from kbit.models.inputs import InputTransform, keep_columns
from kbit.models.record import KeptType, LayerRecord, Rotation
from kbit.models.stored_parts import part_specs
from kbit.quantize.method import METHODS
from kbit.quantize.rotation import record_signs


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChangedInputs:
    """A layer's weight as it is coded, and the input parts stored beside its codes."""

    weight: Tensor
    parts: Mapping[str, Tensor]


def record_inputs(record: LayerRecord, method: str, dtype: torch.dtype) -> LayerRecord:
    """The record with what the method does to the inputs of linear layers.

    Args:
        record: of a layer to be packed.
        method: a name in `METHODS`.
        dtype: of the weight in the source; inputs are kept in its type where that has 16 bits.
    """
    row = METHODS.get(method)
    if row is None or record.role != "linear":
        return record
    if row.rotates:
        record = replace(record, rotation=Rotation())
    columns = record.shape[1]
    if row.kept_share and columns > 1:
        kept = min(columns - 1, max(1, round(row.kept_share * columns)))
        kept_type: KeptType = "fp16" if dtype == torch.float16 else "bf16"
        record = replace(record, kept_inputs=kept, kept_type=kept_type)
    return record


def change_inputs(record: LayerRecord, weight: Tensor, spread: Tensor | None) -> ChangedInputs:
    """Take the kept dimensions out of a weight and rotate the rest, as its record says.

    Args:
        record: from `record_inputs`.
        weight: [rows, columns].
        spread: [columns], standard deviation of each input's weights in the previous layer, where inputs
            are kept.
    """
    made = InputTransform(columns=record.shape[1])
    if record.kept_inputs:
        if spread is None:
            raise ValueError(f"{record.name}: no previous layer's standard deviations given")
        # Equal ones by their number, so that the same model gives the same codes.
        kept = torch.argsort(spread.double(), descending=True, stable=True)[: record.kept_inputs]
        made = keep_columns(weight, kept, dtype=part_specs(record)["kept_weights"].dtype)
    signs = record_signs(record)
    if signs is not None:
        made = replace(made, signs=unpack_signs(signs, record.packed_shape[1]))
    if not record.transforms_inputs:
        return ChangedInputs(weight=weight, parts={})
    coded = _apply_by_rows(made, weight)
    return ChangedInputs(weight=coded, parts=made.parts(record, signs))


def _apply_by_rows(made: InputTransform, weight: Tensor, slice_weights: int = 1 << 22) -> Tensor:
    step = max(1, slice_weights // max(1, weight.shape[1]))
    parts: Sequence[Tensor] = [made.apply(weight[i : i + step].float()) for i in range(0, len(weight), step)]
    return torch.cat(list(parts))
