"""Nearest entry: weights to codes and scales."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kbit.errors import FormatError
from kbit.formats import encoding_core
from kbit.formats.densities import fit_table, quantile_density, scaled_density
from kbit.formats.fitted_tables import Density
from kbit.formats.packed import PackedTensor
from kbit.formats.packing import pack_codes
from kbit.formats.scales import StoredScales, spread_scales, store_offsets, store_scales
from kbit.formats.size import matrix_shape, row_bytes, scale_shape
from kbit.formats.trellis import encode_trellis, rms_scales
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
    if fmt.datatype.scaling == "rms":
        _ranges(weight, fmt)  # refuses NaN and infinity
        return encode_scaled(weight, fmt, store_scales(rms_scales(weight.detach(), fmt), fmt), table=table)
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
    if fmt.datatype.window is not None:
        found = encode_trellis(weight, fmt, scales.values)
        return PackedTensor(
            format=fmt,
            shape=(rows, cols),
            codes=pack_codes(found, fmt.bits),
            scales=scales.stored,
            second_scales=scales.second,
        )
    entries = entries.to(weight.device)
    boundaries = (entries[1:].double() + entries[:-1].double()).div(2).float()
    find = encoding_core.codes if encoding_core.serves(weight) else codes_torch
    codes = find(weight.detach(), fmt, boundaries, scales.values, None if offsets is None else offsets.values)
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


def codes_torch(
    weight: Tensor, fmt: WeightFormat, boundaries: Tensor, scales: Tensor, offsets: Tensor | None
) -> Tensor:
    """Codes in PyTorch, on any device; the C++ core finds the same ones.

    Args:
        weight: [rows, cols].
        fmt: a packed format.
        boundaries: float32, midpoints of neighbouring entries.
        scales: float32, shaped as stored.
        offsets: likewise, or None.

    Returns:
        uint8 [rows, row_bytes].
    """
    rows, cols = weight.shape
    codes = torch.empty(rows, row_bytes(cols, fmt.bits), dtype=torch.uint8, device=weight.device)
    step = max(1, SLICE_WEIGHTS // max(cols, 1))
    for start in range(0, rows if cols else 0, step):
        part = weight[start : start + step].float()
        scale = _spread(scales, fmt, start, part.shape)
        if offsets is not None:
            part = part - _spread(offsets, fmt, start, part.shape)
        part = torch.where(scale > 0, part / scale, torch.zeros((), device=part.device))
        code = torch.bucketize(part, boundaries, out_int32=True).to(torch.uint8)
        codes[start : start + step] = pack_codes(code, fmt.bits)
    return codes


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
    low, high = _ranges(weight, fmt)
    if fmt.maps_range:
        scales = store_scales((high.double() - low.double()) / (last - first), fmt)
        return scales, store_offsets(low.double() - first * scales.values.double(), fmt)
    offsets = store_offsets(_means(weight, fmt), fmt) if fmt.has_offset else None
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


def _ranges(weight: Tensor, fmt: WeightFormat) -> tuple[Tensor, Tensor]:
    """Least and greatest weight of each block, float32, shaped like the scales."""
    if weight.numel() == 0:
        zeros = torch.zeros(scale_shape(fmt, weight.shape), device=weight.device)
        return zeros, zeros
    found = encoding_core.ranges(weight, fmt) if encoding_core.serves(weight) else ranges_torch(weight, fmt)
    if found is None:
        bad = int((~torch.isfinite(weight)).sum())
        raise FormatError(
            f"{bad} of {weight.numel()} weights are NaN or infinite: k bits cannot hold them; "
            "repair the model, or keep this tensor in 16 bits"
        )
    low, high = found
    return low + 0.0, high + 0.0  # no negative zeros, which a range may or may not end in


def ranges_torch(weight: Tensor, fmt: WeightFormat) -> tuple[Tensor, Tensor] | None:
    """The same in PyTorch, on any device; None where a weight is NaN or infinite."""
    low, high = _by_blocks(weight, fmt, lambda part, dim: part.aminmax(dim=dim))
    return (low, high) if bool(torch.isfinite(low).all() and torch.isfinite(high).all()) else None


def _means(weight: Tensor, fmt: WeightFormat) -> Tensor:
    """Mean weight of each block, float32, shaped like the scales."""
    if weight.numel() == 0:
        return torch.zeros(scale_shape(fmt, weight.shape), device=weight.device)
    if fmt.block == "tensor":
        return weight.mean(dtype=torch.float64).float().reshape(1)
    (mean,) = _by_blocks(weight, fmt, lambda part, dim: (part.mean(dim=dim),))
    return mean


def _by_blocks(
    weight: Tensor, fmt: WeightFormat, figures: Callable[[Tensor, int], Sequence[Tensor]]
) -> tuple[Tensor, ...]:
    """Figures of each block, from float32 slices of blocks [n, blocks, block] and the dimension to reduce."""
    rows, cols = matrix_shape(weight.shape)
    if fmt.block == "tensor":
        return tuple(figure.float().reshape(1) for figure in figures(weight.reshape(-1), 0))
    if fmt.flat:
        block, along, flat = int(fmt.block), 1, weight.reshape(1, -1)
        step = max(1, SLICE_WEIGHTS // block) * block
        parts = [flat[:, at : at + step] for at in range(0, rows * cols, step)]
    else:
        block, along = cols if fmt.block == "row" else int(fmt.block), 0
        step = max(1, SLICE_WEIGHTS // cols)
        parts = [weight[at : at + step] for at in range(0, rows, step)]
    found = [_of_blocks(part.float(), block, figures) for part in parts]
    shape = scale_shape(fmt, weight.shape)
    return tuple(torch.cat(column, dim=along).reshape(shape) for column in zip(*found, strict=True))


def _of_blocks(part: Tensor, block: int, figures: Callable[[Tensor, int], Sequence[Tensor]]) -> list[Tensor]:
    whole = part.shape[1] // block * block
    found = []
    if whole:
        found.append(tuple(figures(part[:, :whole].reshape(part.shape[0], -1, block), 2)))
    if whole < part.shape[1]:
        found.append(tuple(figures(part[:, None, whole:], 2)))
    return [torch.cat(column, dim=1) for column in zip(*found, strict=True)]


def _spread(scales: Tensor, fmt: WeightFormat, start: int, shape: torch.Size) -> Tensor:
    """The scale of each weight of rows `start`.. as a tensor that broadcasts to `shape`."""
    rows = torch.arange(start, start + shape[0], device=scales.device)
    return spread_scales(scales, fmt, rows, shape[1])
