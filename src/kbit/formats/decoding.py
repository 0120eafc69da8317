"""Codes and scales back to weights."""

from typing import Any

import torch
from torch import Tensor

from kbit import _core
from kbit.errors import FormatError
from kbit.formats.packed import PackedTensor
from kbit.formats.packing import unpack_codes
from kbit.formats.scales import spread_scales
from kbit.formats.trellis import trellis_rows


def decode(
    packed: PackedTensor, dtype: torch.dtype = torch.float32, rows: slice | Tensor = slice(None)
) -> Tensor:
    """The weights a packed tensor holds: `table[code] * scale + offset`, computed in float32.

    Args:
        packed: the stored parts.
        dtype: of the result; rounded once, at the end, to nearest.
        rows: which rows, as a slice or as row numbers [n] (repeats allowed).

    Returns:
        [n, cols], contiguous.

    Raises:
        FormatError: a row number out of range.
    """
    count = packed.shape[0]
    device = packed.codes.device
    first, numbers = 0, None
    if isinstance(rows, slice):
        first, stop, step = rows.indices(count)
        if step == 1:
            n = max(0, stop - first)
        else:
            numbers = torch.tensor(range(*rows.indices(count)), dtype=torch.int64, device=device)
            n = numbers.numel()
    else:
        numbers = rows.reshape(-1).to(device, torch.int64).contiguous()
        n = numbers.numel()
        if n and (int(numbers.min()) < 0 or int(numbers.max()) >= count):
            raise FormatError(f"row numbers must be 0 to {count - 1}")
    if packed.format.datatype.window is not None:
        return _decode_trellis(packed, dtype, first if n else 0, n, numbers)
    if device.type == "cpu":
        return _decode_core(packed, dtype, first if n else 0, n, numbers)
    if numbers is None:
        numbers = torch.arange(first, first + n, device=device)
    return _decode_torch(packed, numbers).to(dtype)


def _decode_core(
    packed: PackedTensor, dtype: torch.dtype, first: int, n: int, numbers: Tensor | None
) -> Tensor:
    direct = torch.bfloat16 if dtype == torch.bfloat16 else torch.float32
    out = torch.empty(n, packed.shape[1], dtype=direct)
    parts = core_parts(packed)
    del parts["cols"]  # out tells them
    _core.decode(
        **parts,
        first=first,
        numbers=numbers,
        out=out.view(torch.uint16) if direct == torch.bfloat16 else out,
        threads=torch.get_num_threads(),
    )
    return out.to(dtype)


def _decode_trellis(
    packed: PackedTensor, dtype: torch.dtype, first: int, n: int, numbers: Tensor | None
) -> Tensor:
    cols, fmt = packed.shape[1], packed.format
    rows = torch.arange(first, first + n, device=packed.codes.device) if numbers is None else numbers
    values = trellis_rows(packed.codes, fmt.bits, cols, rows, run=numbers is None)
    if cols and n:
        values *= spread_scales(packed.scale_values(), fmt, rows, cols)
    return values.to(dtype)


def core_parts(packed: PackedTensor) -> dict[str, Any]:
    """The stored parts as the C++ core takes them: views, where codes of a row are consecutive."""
    fmt = packed.format
    rows, cols = packed.shape
    block = {"row": cols, "tensor": rows * cols}.get(str(fmt.block)) or fmt.block
    codes = packed.codes.detach()
    return {
        "codes": codes if codes.stride(-1) == 1 else codes.contiguous(),
        "cols": cols,
        "bits": fmt.bits,
        "table": packed.table_values(),
        "scales": _raw(packed.scales),
        "offsets": None if packed.offsets is None else _raw(packed.offsets),
        "second_scales": None if packed.second_scales is None else _raw(packed.second_scales),
        "second_offsets": None if packed.second_offsets is None else _raw(packed.second_offsets),
        "scale_type": fmt.scale,
        "scales_a_row": 0 if packed.scales.ndim == 1 else packed.scales.shape[1],
        "block": block if isinstance(block, int) else 1,
        "flat": fmt.flat,
    }


def _raw(scales: Tensor) -> Tensor:
    """Scales as one run of float32, of raw 16-bit patterns or of 8-bit codes."""
    flat = scales.detach().reshape(-1).contiguous()
    return flat.view({1: torch.uint8, 2: torch.uint16, 4: torch.float32}[flat.dtype.itemsize])


def _decode_torch(packed: PackedTensor, numbers: Tensor) -> Tensor:
    cols = packed.shape[1]
    index = unpack_codes(packed.codes[numbers], packed.format.bits, cols).to(torch.int32)
    values = packed.table_values()[index]
    if cols and numbers.numel():
        values = values * spread_scales(packed.scale_values(), packed.format, numbers, cols)
        offsets = packed.offset_values()
        if offsets is not None:
            values = values + spread_scales(offsets, packed.format, numbers, cols)
    return values
