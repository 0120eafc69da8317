"""Scales for trellis-coded weights: of least squared error for codes that are there."""

from dataclasses import replace

import torch
from torch import Tensor

from kbit.formats import PackedTensor
from kbit.formats.packing import unpack_codes
from kbit.formats.scales import store_scales
from kbit.formats.trellis import trellis_values
from kbit.quantize.codes.blocks import to_blocks


def fit_trellis_scales(weight: Tensor, packed: PackedTensor, importance: Tensor) -> PackedTensor:
    """Give each block the scale of least weighted squared error for its codes.

    Args:
        weight: float32 [rows, cols].
        packed: its codes under other scales.
        importance: float32 [cols] or [rows, cols], what a squared error of each weight costs.

    Returns:
        The same codes with other scales; a scale that would not be positive stays.
    """
    fmt = packed.format
    floor = float(importance.mean()) * 1e-3 or 1.0
    costs = (importance + floor).expand_as(weight)
    chosen = trellis_values(unpack_codes(packed.codes, fmt.bits, packed.shape[1]), fmt.bits)
    fit = to_blocks(costs * chosen * weight, fmt).sum(dim=1, dtype=torch.float64)
    norm = to_blocks(costs * chosen.square(), fmt).sum(dim=1, dtype=torch.float64)
    old = packed.scale_values().reshape(-1).double()
    wanted = torch.where((norm > 0) & (fit > 0) & (old > 0), fit / norm, old)
    stored = store_scales(wanted.reshape(packed.scales.shape), fmt)
    return replace(packed, scales=stored.stored, second_scales=stored.second)
