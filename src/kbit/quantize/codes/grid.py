"""The values a packed tensor may take, weight by weight: what choosing codes is about."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kbit.formats import PackedTensor, pack_codes
from kbit.formats.scales import spread_scales
from kbit.formats.trellis import trellis_codes, trellis_values


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """Every weight's own lattice: `entries * scale + offset`.

    Attributes:
        entries: float32 [entries], ascending, without repetition at the end.
        scale: float32 [rows, cols]; 0 where a block is all zero.
        offset: float32 [rows, cols], or None where the type has no zero point.
    """

    entries: Tensor
    scale: Tensor
    offset: Tensor | None

    def nearest(self, values: Tensor, columns: int | Tensor | slice) -> tuple[Tensor, Tensor]:
        """Codes and values of the entries nearest to the given values.

        Args:
            values: float32 [rows] for one column, [rows, n] for several.
            columns: which columns of the grid these are.

        Returns:
            uint8 codes and float32 values, shaped as `values`.
        """
        scale = self.scale[:, columns]
        offset = None if self.offset is None else self.offset[:, columns]
        shifted = values if offset is None else values - offset
        ratio = torch.where(scale > 0, shifted / scale, torch.zeros_like(shifted))
        code = torch.bucketize(ratio.contiguous(), self.boundaries, out_int32=True)
        chosen = self.entries[code] * scale
        return code.to(torch.uint8), chosen if offset is None else chosen + offset

    def chosen(self, codes: Tensor) -> Tensor:
        """The table's values at codes, neither scaled nor moved, float32 [rows, cols]."""
        return self.entries[codes.int()]

    def values(self, codes: Tensor) -> Tensor:
        """The weights that codes stand for, float32 [rows, cols]."""
        chosen = self.chosen(codes) * self.scale
        return chosen if self.offset is None else chosen + self.offset

    def columns(self, order: Tensor) -> "Grid":
        """The same grid with its columns in another order."""
        offset = None if self.offset is None else self.offset[:, order]
        return replace(self, scale=self.scale[:, order].contiguous(), offset=offset)

    @property
    def boundaries(self) -> Tensor:
        """Midpoints of neighbouring entries; a value on one takes the lower entry, as in `encode`."""
        return (self.entries[1:].double() + self.entries[:-1].double()).div(2).float()


@dataclass(frozen=True, kw_only=True, slots=True)
class TrellisGrid(Grid):
    """The lattice of a trellis-coded tensor: codes of a column are chosen together, for all its rows.

    Attributes:
        bits: k.
    """

    bits: int

    def nearest(self, values: Tensor, columns: int | Tensor | slice) -> tuple[Tensor, Tensor]:
        """Codes and values of least squared error over each column, of which all rows are given."""
        scale = self.scale[:, columns]
        ratio = torch.where(scale > 0, values / scale, torch.zeros_like(values))
        whole = [t.reshape(len(values), -1) for t in (ratio, scale)]
        codes = trellis_codes(whole[0], whole[1].square(), self.bits)
        chosen = trellis_values(codes, self.bits).reshape(values.shape) * scale
        return codes.reshape(values.shape), chosen

    def chosen(self, codes: Tensor) -> Tensor:
        """The table's values at codes [rows, cols], all rows given."""
        return trellis_values(codes, self.bits)


def grid_of(packed: PackedTensor) -> Grid:
    """The grid of a packed tensor's scales, offsets and table.

    Args:
        packed: any packed tensor; its codes are not read.
    """
    fmt, (rows, cols) = packed.format, packed.shape
    numbers = torch.arange(rows, device=packed.codes.device)

    def spread(values: Tensor) -> Tensor:
        return spread_scales(values, fmt, numbers, cols).expand(rows, cols).contiguous()

    if fmt.datatype.window is not None:
        return TrellisGrid(
            entries=packed.table_values(),
            scale=spread(packed.scale_values()),
            offset=None,
            bits=fmt.bits,
        )
    table = packed.table_values()
    # A type with fewer entries than codes repeats its last one, which is never written.
    distinct = table if fmt.datatype.stored_table else table[: len(fmt.datatype.entries())]
    offsets = packed.offset_values()
    return Grid(
        entries=distinct,
        scale=spread(packed.scale_values()),
        offset=None if offsets is None else spread(offsets),
    )


def with_codes(packed: PackedTensor, codes: Tensor) -> PackedTensor:
    """The packed tensor with other codes, uint8 [rows, cols]."""
    return replace(packed, codes=pack_codes(codes, packed.format.bits))
