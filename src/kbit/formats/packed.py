"""A packed tensor: codes, scales and what else decodes them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kbit.errors import FormatError
from kbit.formats.size import StoredSize, row_bytes, scale_shape, stored_size
from kbit.formats.weight_format import WeightFormat

TORCH_SCALES: dict[str, torch.dtype] = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PackedTensor:
    """The stored parts of one tensor. A weight is `table[code] * scale + offset`.

    Attributes:
        format: how it is stored.
        shape: (rows, cols) of the weights.
        codes: uint8 [rows, row_bytes]: each row a little-endian bit stream, padded to 32 codes.
        scales: [rows, blocks], [blocks] for flat blocks, [1] for a whole tensor; in the scale's type.
        offsets: zero points, like `scales`; None where the type has none.
        table: bfloat16 [2^bits], ascending, where it is made from data; None where the format defines it.

    Raises:
        FormatError: a part that does not fit the format and the shape.
    """

    format: WeightFormat
    shape: tuple[int, int]
    codes: Tensor
    scales: Tensor
    offsets: Tensor | None = None
    table: Tensor | None = None

    def __post_init__(self) -> None:
        fmt = self.format
        if not fmt.is_packed:
            raise FormatError(f"{fmt} is not packed: keep the tensor itself in that type")
        rows, cols = self.shape
        scale_type, scales = TORCH_SCALES[fmt.scale], scale_shape(fmt, self.shape)
        _check("codes", self.codes, (rows, row_bytes(cols, fmt.bits)), torch.uint8, self)
        _check("scales", self.scales, scales, scale_type, self)
        _check("offsets", self.offsets, scales if fmt.datatype.has_offset else None, scale_type, self)
        table_shape = (2**fmt.bits,) if fmt.datatype.stored_table else None
        _check("table", self.table, table_shape, torch.bfloat16, self)

    @property
    def stored_size(self) -> StoredSize:
        """Exact stored bits."""
        return stored_size(self.format, self.shape)

    def table_values(self) -> Tensor:
        """The 2^bits values codes index, float32, on the codes' device."""
        if self.table is not None:
            return self.table.float()
        return torch.tensor(self.format.datatype.table(), device=self.codes.device)

    def parts(self) -> dict[str, Tensor]:
        """The tensors to store, by name."""
        named = {"codes": self.codes, "scales": self.scales, "offsets": self.offsets, "table": self.table}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def _check(
    name: str, tensor: Tensor | None, shape: tuple[int, ...] | None, dtype: torch.dtype, of: PackedTensor
) -> None:
    where = f"{of.format} tensor of shape {list(of.shape)}"
    if shape is None:
        if tensor is not None:
            raise FormatError(f"a {where} has no {name}")
    elif tensor is None:
        raise FormatError(f"a {where} needs {name} {list(shape)} {dtype}")
    elif tuple(tensor.shape) != shape or tensor.dtype != dtype:
        raise FormatError(
            f"{name} of a {where} must be {list(shape)} {dtype}, given {list(tensor.shape)} {tensor.dtype}"
        )
