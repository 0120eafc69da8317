"""Nearest entry: weights to codes and scales."""

import torch
from torch import Tensor

from kbit.errors import FormatError
from kbit.formats.densities import fit_table, quantile_density, scaled_density
from kbit.formats.fitted_tables import Density
from kbit.formats.packed import PackedTensor
from kbit.formats.packing import pack_codes
from kbit.formats.scales import StoredScales, spread_scales, store_offsets, store_scales
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
        table: [2^bits] ascending values, for a type whose table is made from data, which is otherwise fitted
            to this weight; None for other types.

    Raises:
        FormatError: NaN or infinity in `weight`, a scale beyond its type's range, a tensor that is not
            a matrix, a format that is not packed, a table that is not wanted.
    """
    _check_weight(weight, fmt)
    if table is None and fmt.datatype.fit is not None:
        table = fit_table(fmt.datatype.fit, fmt.bits, table_density(weight, fmt))
    _, entries = _entries(fmt, table)
    scales, offsets = range_scales(weight.detach(), fmt, entries)
    return encode_scaled(weight, fmt, scales, offsets, table=table)


def table_density(weight: Tensor, fmt: WeightFormat) -> Density:
    """What the table of a data-made type is fitted to; densities of several weights may be added.

    Raises:
        FormatError: NaN or infinity in `weight`.
    """
    weight = weight.detach()
    scales, offsets = range_scales(weight, fmt, torch.tensor([-1.0, 1.0]))
    if fmt.datatype.fit == "quantile":
        return quantile_density(weight)
    return scaled_density(weight, fmt, scales, offsets)


def encode_scaled(
    weight: Tensor,
    fmt: WeightFormat,
    scales: StoredScales,
    offsets: StoredScales | None = None,
    *,
    table: Tensor | None = None,
) -> PackedTensor:
    """Store a matrix with given scales: the nearest entry to each weight.

    Args:
        weight: [rows, cols], any floating type, finite.
        fmt: a packed format.
        scales: as `store_scales` makes them.
        offsets: as `store_offsets` makes them, where the format has offsets.
        table: as for `encode`.
    """
    rows, cols = _check_weight(weight, fmt)
    stored_table, entries = _entries(fmt, table)
    weight = weight.detach()
    codes = torch.empty(rows, row_bytes(cols, fmt.bits), dtype=torch.uint8, device=weight.device)
    entries = entries.to(weight.device)
    boundaries = (entries[1:].double() + entries[:-1].double()).div(2).float()
    scale_values, offset_values = scales.values, None if offsets is None else offsets.values
    step = max(1, SLICE_WEIGHTS // max(cols, 1))
    for start in range(0, rows if cols else 0, step):
        part = weight[start : start + step].float()
        scale = _spread(scale_values, fmt, start, part.shape)
        if offset_values is not None:
            part = part - _spread(offset_values, fmt, start, part.shape)
        part = torch.where(scale > 0, part / scale, torch.zeros((), device=part.device))
        code = torch.bucketize(part, boundaries, out_int32=True).to(torch.uint8)
        codes[start : start + step] = pack_codes(code, fmt.bits)
    return PackedTensor(
        format=fmt,
        shape=(rows, cols),
        codes=codes,
        scales=scales.stored,
        offsets=None if offsets is None else offsets.stored,
        table=stored_table,
        second_scales=scales.second,
        second_offsets=None if offsets is None else offsets.second,
    )


def range_scales(
    weight: Tensor, fmt: WeightFormat, entries: Tensor
) -> tuple[StoredScales, StoredScales | None]:
    """Scales and offsets from each block's range: no weight lies beyond the table's ends, but for rounding.

    Args:
        weight: [rows, cols], any floating type.
        fmt: a packed format.
        entries: the table's values, ascending.

    Raises:
        FormatError: NaN or infinity in `weight`, or a scale beyond its type's range.
    """
    # A fitted table belongs to weights scaled to [-1, 1], whatever its own ends are.
    first, last = (-1.0, 1.0) if fmt.datatype.stored_table else (float(entries[0]), float(entries[-1]))
    low, high, mean = _ranges(weight, fmt)
    if fmt.maps_range:
        scales = store_scales((high.double() - low.double()) / (last - first), fmt)
        return scales, store_offsets(low.double() - first * scales.values.double(), fmt)
    offsets = store_offsets(mean, fmt) if fmt.has_offset else None
    if offsets is not None:
        low, high = low - offsets.values, high - offsets.values
    return store_scales(torch.maximum(-low, high).double() / max(-first, last), fmt), offsets


def _check_weight(weight: Tensor, fmt: WeightFormat) -> tuple[int, int]:
    if not fmt.is_packed:
        raise FormatError(f"{fmt} is not packed: keep the tensor itself in that type")
    rows, cols = matrix_shape(weight.shape)
    if not weight.is_floating_point():
        raise FormatError(f"weights must be floating point, given {weight.dtype}")
    return rows, cols


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


def _ranges(weight: Tensor, fmt: WeightFormat) -> tuple[Tensor, Tensor, Tensor]:
    """Least, greatest and mean weight of each block, float32, shaped like the scales."""
    rows, cols = matrix_shape(weight.shape)
    shape = scale_shape(fmt, weight.shape)
    if rows * cols == 0:
        zeros = torch.zeros(shape, device=weight.device)
        return zeros, zeros, zeros
    if fmt.block == "tensor":
        along, mean = 0, weight.mean(dtype=torch.float64)
        found = [tuple(figure.float().reshape(1) for figure in (*weight.aminmax(), mean))]
    elif fmt.flat:
        block, along, flat = int(fmt.block), 1, weight.reshape(1, -1)
        step = max(1, SLICE_WEIGHTS // block) * block
        found = [_block_ranges(flat[:, at : at + step], block) for at in range(0, rows * cols, step)]
    else:
        block, along = cols if fmt.block == "row" else int(fmt.block), 0
        step = max(1, SLICE_WEIGHTS // cols)
        found = [_block_ranges(weight[at : at + step], block) for at in range(0, rows, step)]
    low, high, mean = (torch.cat(column, dim=along).reshape(shape) for column in zip(*found, strict=True))
    if not bool(torch.isfinite(low).all() and torch.isfinite(high).all()):
        bad = int((~torch.isfinite(weight)).sum())
        raise FormatError(
            f"{bad} of {rows * cols} weights are NaN or infinite: k bits cannot hold them; "
            "repair the model, or keep this tensor in 16 bits"
        )
    return low, high, mean


def _block_ranges(part: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor]:
    part = part.float()
    whole = part.shape[1] // block * block
    found = []
    if whole:
        blocks = part[:, :whole].reshape(part.shape[0], -1, block)
        found.append((*blocks.aminmax(dim=2), blocks.mean(dim=2)))
    if whole < part.shape[1]:
        rest = part[:, whole:]
        found.append((*rest.aminmax(dim=1, keepdim=True), rest.mean(dim=1, keepdim=True)))
    low, high, mean = (torch.cat(column, dim=1) for column in zip(*found, strict=True))
    return low, high, mean


def _spread(scales: Tensor, fmt: WeightFormat, start: int, shape: torch.Size) -> Tensor:
    """The scale of each weight of rows `start`.. as a tensor that broadcasts to `shape`."""
    rows = torch.arange(start, start + shape[0], device=scales.device)
    return spread_scales(scales, fmt, rows, shape[1])
