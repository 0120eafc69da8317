"""Scales and offsets fitted again under the Hessian, for codes as they are."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from kbit.formats import PackedTensor
from kbit.formats.scales import StoredScales
from kbit.formats.weight_format import SECOND_LEVEL_GROUP
from kbit.quantize.codes.grid import grid_of


def refit_scales(weight: Tensor, hessian: Tensor, packed: PackedTensor, codes: Tensor) -> PackedTensor:
    """Give each block the scale, then the offset, of least error while all else stays.

    In one block's scale s the objective trace((W - Q) H (W - Q)^T) is a parabola with its least value at
    s + <E H, T> / <T H, T>, T the entries chosen in the block. A scale is stored rounded, so it moves only
    where the rounded one is better: no step raises the objective.

    Args:
        weight: float32 [rows, cols].
        hessian: float32 [cols, cols].
        packed: the scales to begin with; its codes are not read.
        codes: uint8 [rows, cols].

    Returns:
        `packed` with other scales and offsets; unchanged where flat blocks do not begin with rows.
    """
    fmt, (rows, cols) = packed.format, packed.shape
    if fmt.flat and cols % int(fmt.block):
        return packed
    table = grid_of(packed).chosen(codes)
    pull = (weight - grid_of(packed).values(codes)) @ hessian
    length = cols if isinstance(fmt.block, str) else int(fmt.block)
    blocks = -(-cols // length)
    shared = fmt.block == "tensor"

    def improved(held: StoredScales, direction: Callable[[int, int], Tensor]) -> Tensor:
        values, steps = held.values, _steps(held)
        if shared:
            values, steps = values.expand(rows), None if steps is None else steps.expand(rows)
        at = values.reshape(rows, blocks).clone()
        for block in range(blocks):
            start, stop = block * length, min((block + 1) * length, cols)
            along = direction(start, stop)
            slope = (pull[:, start:stop] * along).sum(dim=1)
            curve = ((along @ hessian[start:stop, start:stop]) * along).sum(dim=1)
            if shared:
                slope, curve = slope.sum().expand(rows), curve.sum().expand(rows)
            old = at[:, block]
            wanted = torch.where(curve > 0, old + slope / curve, old)
            new = _stored(wanted, held, None if steps is None else steps.reshape(rows, blocks)[:, block])
            step = new - old
            better = (2 * step * slope - step**2 * curve > 0) & torch.isfinite(new)
            step = torch.where(better, step, torch.zeros_like(step))
            at[:, block] = old + step
            pull.sub_((step[:, None] * along) @ hessian[start:stop])
        found = at[:1, :1].reshape(1) if shared else at.reshape(held.stored.shape)
        one = _steps(held)
        if one is not None:
            found = torch.where(one > 0, found / one, torch.zeros_like(found)).round()
        return found.to(held.stored.dtype)

    held = StoredScales(stored=packed.scales, second=packed.second_scales)
    scales = improved(held, lambda start, stop: table[:, start:stop])
    scales = torch.where(scales > 0, scales, packed.scales)
    fitted = replace(packed, scales=scales)
    if packed.offsets is None:
        return fitted
    # What was refused above left `pull` behind; offsets begin from the values as they now are.
    pull = (weight - grid_of(fitted).values(codes)) @ hessian
    ones = torch.ones(rows, cols)
    held = StoredScales(stored=packed.offsets, second=packed.second_offsets)
    return replace(fitted, offsets=improved(held, lambda start, stop: ones[:, start:stop]))


def _steps(held: StoredScales) -> Tensor | None:
    """What one code of a two-level scale stands for, shaped as the scales; None for one level."""
    if held.second is None:
        return None
    steps = held.second.float().repeat_interleave(SECOND_LEVEL_GROUP)[: held.stored.numel()]
    return steps.reshape(held.stored.shape)


def _stored(wanted: Tensor, held: StoredScales, steps: Tensor | None) -> Tensor:
    """The nearest that can be stored, the second level as it is."""
    if steps is None:
        return wanted.to(held.stored.dtype).float()
    # As `store_scales` and `store_offsets` code them: 0 to 255, or -127 to 127.
    least = -127 if held.stored.dtype == torch.int8 else 0
    codes = torch.where(steps > 0, wanted / steps, torch.zeros_like(wanted)).round()
    return codes.clamp(least, 127 if least else 255) * steps
