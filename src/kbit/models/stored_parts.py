"""Which tensors a record stores, by name, type and shape: `<layer>.codes`, `<layer>.scales` and others."""

import torch

from kbit.formats import row_bytes, scale_shape
from kbit.formats.packed import TORCH_SCALES
from kbit.models.record import LayerRecord
from kbit.models.safetensors_header import TensorSpec

# In the order of a module's parameters. No name ends in `.weight.…`: Transformers would take
# `layer.weight` for a module.
PARTS = ("codes", "scales", "offsets", "table")


def part_specs(record: LayerRecord) -> dict[str, TensorSpec]:
    """Part to its name, data type and shape in the file.

    Args:
        record: of a packed layer.

    Returns:
        `codes` and `scales`, and `offsets` and `table` where the format has them.
    """
    fmt, (rows, columns) = record.format, record.shape
    scales, scale_type = scale_shape(fmt, record.shape), TORCH_SCALES[fmt.scale]
    parts = {
        "codes": (torch.uint8, (rows, row_bytes(columns, fmt.bits))),
        "scales": (scale_type, scales),
    }
    if fmt.datatype.has_offset:
        parts["offsets"] = (scale_type, scales)
    if fmt.datatype.stored_table:
        parts["table"] = (torch.bfloat16, (2**fmt.bits,))
    return {
        part: TensorSpec(name=f"{record.name}.{part}", dtype=dtype, shape=shape)
        for part, (dtype, shape) in parts.items()
    }
