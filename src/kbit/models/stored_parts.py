"""Which tensors a record stores, by name, type and shape: `<layer>.codes`, `<layer>.scales` and others."""

import torch

from kbit.formats.packed import PACKED_PARTS, part_layout
from kbit.models.record import LayerRecord
from kbit.models.safetensors_header import TensorSpec

INPUT_PARTS = ("signs", "order", "kept_columns", "kept_weights")
"""What a layer that transforms its inputs stores beside the packed tensor."""

# In the order of a module's parameters. No name ends in `.weight.…`: Transformers would take
# `layer.weight` for a module.
PARTS = (*PACKED_PARTS, *INPUT_PARTS)

_KEPT_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def index_dtype(columns: int) -> torch.dtype:
    """The narrowest type that numbers so many columns."""
    if columns <= 1 << 8:
        return torch.uint8
    return torch.uint16 if columns <= 1 << 16 else torch.int32


def part_specs(record: LayerRecord) -> dict[str, TensorSpec]:
    """Part to its name, data type and shape in the file.

    Args:
        record: of a packed layer.

    Returns:
        `codes` and `scales`; `offsets`, `table` (where it is the layer's own), `second_scales` and
        `second_offsets` where the format has them; `signs`, `order`, `kept_columns` and `kept_weights`
        where the record says so.
    """
    rows, columns = record.packed_shape
    parts = part_layout(record.format, record.packed_shape)
    if record.table_of is not None:
        del parts["table"]
    if record.rotation is not None:
        parts["signs"] = ((-(-columns // 8),), torch.uint8)
    if record.activation_order:
        parts["order"] = ((columns,), index_dtype(columns))
    if record.kept_inputs:
        parts["kept_columns"] = ((record.kept_inputs,), index_dtype(record.shape[1]))
        parts["kept_weights"] = ((rows, record.kept_inputs), _KEPT_TYPES[record.kept_type])
    return {
        part: TensorSpec(name=f"{record.name}.{part}", dtype=dtype, shape=shape)
        for part, (shape, dtype) in parts.items()
    }
