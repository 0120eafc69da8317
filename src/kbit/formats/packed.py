"""A packed tensor: codes, scales and what else decodes them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kbit.errors import FormatError
from kbit.formats.scales import StoredScales, offset_dtype, scale_dtype
from kbit.formats.size import StoredSize, row_bytes, scale_shape, second_level_count, stored_size
from kbit.formats.weight_format import WeightFormat


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True, eq=False)
class PackedTensor:
    """The stored parts of one tensor. A weight is `table[code] * scale + offset`.

    With a window the table's index is made of the codes of several rows (see `kbit.formats.trellis`).

    Attributes:
        format: how it is stored.
        shape: (rows, cols) of the weights.
        codes: uint8 [rows, row_bytes]: each row a little-endian bit stream, padded to 32 codes.
        scales: [rows, blocks], [blocks] for flat blocks, [1] for a whole tensor; in the scale's type,
            uint8 codes where scales have two levels.
        offsets: zero points, like `scales` (int8 codes where there are two levels); None without them.
        table: bfloat16 [2^bits], ascending, where it is made from data; None where the format defines it.
        second_scales, second_offsets: bfloat16, one for each 256 consecutive codes of the flattened
            `scales` and `offsets`; None where these have one level.

    Raises:
        FormatError: a part that does not fit the format and the shape.
    """

    format: WeightFormat
    shape: tuple[int, int]
    codes: Tensor
    scales: Tensor
    offsets: Tensor | None = None
    table: Tensor | None = None
    second_scales: Tensor | None = None
    second_offsets: Tensor | None = None

    def __post_init__(self) -> None:
        fmt = self.format
        if not fmt.is_packed:
            raise FormatError(f"{fmt} is not packed: keep the tensor itself in that type")
        for name, (shape, dtype) in part_layout(fmt, self.shape).items():
            _check(name, getattr(self, name), shape, dtype, self)
        for name in PACKED_PARTS:
            if name not in part_layout(fmt, self.shape) and getattr(self, name) is not None:
                raise FormatError(f"a {fmt} tensor of shape {list(self.shape)} has no {name}")

    @property
    def stored_size(self) -> StoredSize:
        """Exact stored bits."""
        return stored_size(self.format, self.shape)

    def table_values(self) -> Tensor:
        """The values codes index (2^bits, or 2^window), float32, on the codes' device."""
        if self.table is not None:
            return self.table.float()
        return torch.tensor(self.format.datatype.table(), device=self.codes.device)

    def scale_values(self) -> Tensor:
        """The scales as numbers, float32, shaped like `scales`."""
        return StoredScales(stored=self.scales, second=self.second_scales).values

    def offset_values(self) -> Tensor | None:
        """The offsets as numbers, float32, shaped like `scales`; None where the format has none."""
        if self.offsets is None:
            return None
        return StoredScales(stored=self.offsets, second=self.second_offsets).values

    def parts(self) -> dict[str, Tensor]:
        """The tensors to store, by name."""
        named = {name: getattr(self, name) for name in PACKED_PARTS}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


PACKED_PARTS = ("codes", "scales", "offsets", "table", "second_scales", "second_offsets")
"""Every tensor a packed tensor may have, in the order they are stored."""


def part_layout(fmt: WeightFormat, shape: tuple[int, int]) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and type of each tensor that a packed tensor of this format and shape has."""
    scales, second = scale_shape(fmt, shape), (second_level_count(fmt, shape),)
    layout = {
        "codes": ((shape[0], row_bytes(shape[1], fmt.bits)), torch.uint8),
        "scales": (scales, scale_dtype(fmt)),
    }
    if fmt.has_offset:
        layout["offsets"] = (scales, offset_dtype(fmt))
    if fmt.datatype.stored_table:
        layout["table"] = ((2**fmt.bits,), torch.bfloat16)
    if fmt.scale == "q8":
        layout["second_scales"] = (second, torch.bfloat16)
        if fmt.has_offset:
            layout["second_offsets"] = (second, torch.bfloat16)
    return layout


def _check(
    name: str, tensor: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype, of: PackedTensor
) -> None:
    where = f"{of.format} tensor of shape {list(of.shape)}"
    if tensor is None:
        raise FormatError(f"a {where} needs {name} {list(shape)} {dtype}")
    if tuple(tensor.shape) != shape or tensor.dtype != dtype:
        raise FormatError(
            f"{name} of a {where} must be {list(shape)} {dtype}, given {list(tensor.shape)} {tensor.dtype}"
        )
