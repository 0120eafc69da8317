"""Nearest entry: weights to codes and scales."""

import torch
from torch import Tensor

from kbit.errors import FormatError
from kbit.formats.packed import TORCH_SCALES, PackedTensor
from kbit.formats.packing import pack_codes
from kbit.formats.size import matrix_shape, row_bytes, scale_shape
from kbit.formats.weight_format import WeightFormat

# Weights handled at once: working memory is about twenty bytes for each, whatever the tensor.
SLICE_WEIGHTS = 1 << 20


def encode(weight: Tensor, fmt: WeightFormat, *, table: Tensor | None = None) -> PackedTensor:
    """Store a matrix: scales from the block's range, then the nearest entry to each weight.

    Codes are chosen against the scale and offset as stored, after rounding to their type. A weight
    midway between two entries takes the lower. A block of zeros has scale 0. A scale too small for its
    type becomes the type's least positive value.

    Args:
        weight: [rows, cols], any floating type.
        fmt: a packed format.
        table: [2^bits] ascending values, for a type whose table is made from data; None otherwise.

    Raises:
        FormatError: NaN or infinity in `weight`, a scale beyond its type's range, a tensor that is not
            a matrix, a format that is not packed, a table that is missing or not wanted.
    """
    if not fmt.is_packed:
        raise FormatError(f"{fmt} is not packed: keep the tensor itself in that type")
    rows, cols = matrix_shape(weight.shape)
    if not weight.is_floating_point():
        raise FormatError(f"weights must be floating point, given {weight.dtype}")
    stored_table, entries = _entries(fmt, table)
    weight = weight.detach()
    scale_type = TORCH_SCALES[fmt.scale]
    codes = torch.empty(rows, row_bytes(cols, fmt.bits), dtype=torch.uint8, device=weight.device)
    low, high = _ranges(weight, fmt)
    scales, offsets = _scales(low, high, entries, fmt, scale_type)
    entries = entries.to(weight.device)
    boundaries = (entries[1:].double() + entries[:-1].double()).div(2).float()
    step = max(1, SLICE_WEIGHTS // max(cols, 1))
    for start in range(0, rows if cols else 0, step):
        part = weight[start : start + step].float()
        scale = _spread(scales.float(), fmt, start, part.shape)
        if offsets is not None:
            part = part - _spread(offsets.float(), fmt, start, part.shape)
        part = torch.where(scale > 0, part / scale, torch.zeros((), device=part.device))
        code = torch.bucketize(part, boundaries, out_int32=True).to(torch.uint8)
        codes[start : start + step] = pack_codes(code, fmt.bits)
    return PackedTensor(
        format=fmt, shape=(rows, cols), codes=codes, scales=scales, offsets=offsets, table=stored_table
    )


def _entries(fmt: WeightFormat, table: Tensor | None) -> tuple[Tensor | None, Tensor]:
    if not fmt.datatype.stored_table:
        if table is not None:
            raise FormatError(f"{fmt} defines its own table: give none")
        return None, torch.tensor(fmt.datatype.entries())
    if table is None or tuple(table.shape) != (2**fmt.bits,):
        raise FormatError(f"{fmt} needs a table of {2**fmt.bits} values")
    stored = table.to(torch.bfloat16)
    values = stored.float()
    if not bool((values[1:] >= values[:-1]).all()):
        raise FormatError(f"the table of {fmt} must be ascending")
    return stored, values.cpu()


def _ranges(weight: Tensor, fmt: WeightFormat) -> tuple[Tensor, Tensor]:
    """Least and greatest weight of each block, float32, shaped like the scales."""
    rows, cols = matrix_shape(weight.shape)
    shape = scale_shape(fmt, weight.shape)
    if rows * cols == 0:
        return torch.zeros(shape, device=weight.device), torch.zeros(shape, device=weight.device)
    if fmt.block == "tensor" or fmt.flat:
        # The flattened tensor is one row; slices of it hold whole blocks.
        flat, block = weight.reshape(1, -1), rows * cols if fmt.block == "tensor" else int(fmt.block)
    else:
        flat, block = weight, cols if fmt.block == "row" else int(fmt.block)
    least, greatest = [], []
    blocks_at_once = max(1, SLICE_WEIGHTS // (block * flat.shape[0] if flat.shape[0] == 1 else block))
    if flat.shape[0] == 1:
        for start in range(0, flat.shape[1], blocks_at_once * block):
            low, high = _block_ranges(flat[:, start : start + blocks_at_once * block], block)
            least.append(low)
            greatest.append(high)
        low, high = torch.cat(least, dim=1), torch.cat(greatest, dim=1)
    else:
        step = max(1, SLICE_WEIGHTS // cols)
        for start in range(0, rows, step):
            low, high = _block_ranges(flat[start : start + step], block)
            least.append(low)
            greatest.append(high)
        low, high = torch.cat(least), torch.cat(greatest)
    if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
        bad = int((~torch.isfinite(weight)).sum())
        raise FormatError(
            f"{bad} of {rows * cols} weights are NaN or infinite: k bits cannot hold them; "
            "repair the model, or keep this tensor in 16 bits"
        )
    return low.reshape(shape), high.reshape(shape)


def _block_ranges(part: Tensor, block: int) -> tuple[Tensor, Tensor]:
    part = part.float()
    whole = part.shape[1] // block * block
    lows, highs = [], []
    if whole:
        low, high = part[:, :whole].reshape(part.shape[0], -1, block).aminmax(dim=2)
        lows.append(low)
        highs.append(high)
    if whole < part.shape[1]:
        low, high = part[:, whole:].aminmax(dim=1, keepdim=True)
        lows.append(low)
        highs.append(high)
    return torch.cat(lows, dim=1), torch.cat(highs, dim=1)


def _scales(
    low: Tensor, high: Tensor, entries: Tensor, fmt: WeightFormat, scale_type: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    first, last = float(entries[0]), float(entries[-1])
    if fmt.datatype.scaling == "absmax":
        wanted = torch.maximum(-low, high).double() / max(-first, last)
    else:
        wanted = (high.double() - low.double()) / (last - first)
    scales = _round_scale(wanted.clamp_min(0.0), scale_type, fmt, "a scale")
    least = torch.finfo(scale_type).smallest_normal * torch.finfo(scale_type).eps
    scales = torch.where((wanted > 0) & (scales == 0), torch.full_like(scales, least), scales)
    if fmt.datatype.scaling == "absmax":
        return scales, None
    return scales, _round_scale(low.double() - first * scales.double(), scale_type, fmt, "an offset")


def _round_scale(wanted: Tensor, scale_type: torch.dtype, fmt: WeightFormat, what: str) -> Tensor:
    rounded = wanted.to(scale_type)
    if not bool(torch.isfinite(rounded).all()):
        raise FormatError(
            f"{what} of {float(wanted.abs().max()):.6g} is beyond {fmt.scale} "
            f"(at most {torch.finfo(scale_type).max:.6g}): use {_wider(fmt)}"
        )
    return rounded


def _wider(fmt: WeightFormat) -> str:
    if fmt.scale != "fp16":
        return "bf16 or 16-bit storage for this tensor"
    return f"bf16 scales, {str(fmt) + ':bf16'!r}"


def _spread(scales: Tensor, fmt: WeightFormat, start: int, shape: torch.Size) -> Tensor:
    """The scale of each weight of rows `start`.. as a tensor that broadcasts to `shape`."""
    rows = torch.arange(start, start + shape[0], device=scales.device)
    return spread_scales(scales, fmt, rows, shape[1])


def spread_scales(scales: Tensor, fmt: WeightFormat, rows: Tensor, cols: int) -> Tensor:
    """The scale of each weight of some rows.

    Args:
        scales: shaped as stored, any type.
        fmt: the format.
        rows: [n] row numbers.
        cols: weights in a row.

    Returns:
        A tensor that broadcasts to [n, cols].
    """
    if fmt.block == "tensor":
        return scales.reshape(-1, 1)
    if fmt.flat:
        at = rows[:, None] * cols + torch.arange(cols, device=scales.device)
        return scales[at // int(fmt.block)]
    picked = scales[rows]
    if fmt.block == "row":
        return picked
    return picked.repeat_interleave(int(fmt.block), dim=1)[:, :cols]
