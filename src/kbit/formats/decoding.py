"""Codes and scales back to weights."""

import torch
from torch import Tensor

from kbit.errors import FormatError
from kbit.formats.encoding import spread_scales
from kbit.formats.packed import PackedTensor
from kbit.formats.packing import unpack_codes


def decode(
    packed: PackedTensor, dtype: torch.dtype = torch.float32, rows: slice | Tensor = slice(None)
) -> Tensor:
    """The weights a packed tensor holds: `table[code] * scale + offset`, computed in float32.

    Args:
        packed: the stored parts.
        dtype: of the result; rounded once, at the end.
        rows: which rows, as a slice or as row numbers [n] (repeats allowed).

    Returns:
        [n, cols], contiguous.

    Raises:
        FormatError: a row number out of range.
    """
    count, cols = packed.shape
    if isinstance(rows, slice):
        numbers = torch.arange(*rows.indices(count), device=packed.codes.device)
        codes = packed.codes[rows] if (rows.step or 1) > 0 else packed.codes[numbers]
    else:
        numbers = rows.reshape(-1).to(packed.codes.device, torch.int64)
        if numbers.numel() and (int(numbers.min()) < 0 or int(numbers.max()) >= count):
            raise FormatError(f"row numbers must be 0 to {count - 1}")
        codes = packed.codes[numbers]
    index = unpack_codes(codes, packed.format.bits, cols).to(torch.int32)
    values = packed.table_values()[index]
    if cols:
        values = values * spread_scales(packed.scales.float(), packed.format, numbers, cols)
        if packed.offsets is not None:
            values = values + spread_scales(packed.offsets.float(), packed.format, numbers, cols)
    return values.to(dtype)
