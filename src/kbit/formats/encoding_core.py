"""Ranges of blocks and codes of nearest entries in the C++ core: the same numbers as PyTorch's, faster."""

import torch
from torch import Tensor

from kbit import _core
from kbit.formats.size import row_bytes, scale_shape
from kbit.formats.weight_format import WeightFormat

_TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
# A tensor that has one scale is read in so many parts, on all threads.
_PART = 1 << 16


def serves(weight: Tensor) -> bool:
    """Whether the core reads this weight."""
    return weight.device.type == "cpu" and weight.dtype in _TYPES


def ranges(weight: Tensor, fmt: WeightFormat, *, path: str = "") -> tuple[Tensor, Tensor] | None:
    """Least and greatest weight of each block, float32, shaped like the scales.

    Args:
        weight: [rows, cols], not empty, of a type that the core reads.
        fmt: a packed format.
        path: instructions to use; the best where empty.

    Returns:
        None where a weight is NaN or infinite.
    """
    rows, cols = weight.shape
    shape = scale_shape(fmt, weight.shape)
    whole = fmt.block == "tensor"
    block = _PART if whole else cols if fmt.block == "row" else int(fmt.block)
    flat = whole or fmt.flat
    count = -(-rows * cols // block) if flat else rows * -(-cols // block)
    low, high = torch.empty(count), torch.empty(count)
    finite = _core.ranges(
        _raw(weight, flat),
        type=_TYPES[weight.dtype],
        block=block,
        flat=flat,
        low=low,
        high=high,
        threads=torch.get_num_threads(),
        path=path,
    )
    if not finite:
        return None
    if whole:
        low, high = low.amin(), high.amax()
    return low.reshape(shape), high.reshape(shape)


def codes(
    weight: Tensor,
    fmt: WeightFormat,
    boundaries: Tensor,
    scales: Tensor,
    offsets: Tensor | None,
    *,
    path: str = "",
) -> Tensor:
    """Packed codes of the nearest entries.

    Args:
        weight: [rows, cols], of a type that the core reads.
        fmt: a packed format.
        boundaries: float32, midpoints of neighbouring entries.
        scales: float32, shaped as stored.
        offsets: likewise, or None.
        path: instructions to use; the best where empty.

    Returns:
        uint8 [rows, row_bytes].
    """
    rows, cols = weight.shape
    out = torch.empty(rows, row_bytes(cols, fmt.bits), dtype=torch.uint8)
    whole = fmt.block == "tensor"
    flat = whole or fmt.flat
    block = rows * cols if whole else cols if fmt.block == "row" else int(fmt.block)
    _core.encode(
        _raw(weight, flat),
        type=_TYPES[weight.dtype],
        bits=fmt.bits,
        boundaries=boundaries.contiguous(),
        scales=scales.reshape(-1).contiguous(),
        offsets=None if offsets is None else offsets.reshape(-1).contiguous(),
        scales_a_row=0 if flat else scales.shape[1],
        block=max(1, block),
        flat=flat,
        out=out,
        threads=torch.get_num_threads(),
        path=path,
    )
    return out


def _raw(weight: Tensor, flat: bool) -> Tensor:
    """The weight as the core takes it: 16-bit types as raw bits, whole where blocks cross rows."""
    weight = weight.detach()
    if flat or (weight.shape[1] > 1 and weight.stride(1) != 1):
        weight = weight.contiguous()
    return weight if weight.dtype == torch.float32 else weight.view(torch.uint16)
