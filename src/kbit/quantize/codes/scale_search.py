"""Scales that make the squared error least, each weight's error counted as much as its input matters."""

import torch
from torch import Tensor

from kbit.formats import WeightFormat, scale_shape
from kbit.quantize.codes.blocks import to_blocks

# Shares of the block's range tried as its scale; the best is then fitted by least squares.
SHARES = tuple(0.40 + 0.04 * i for i in range(20))
FITS = 3
SLICE_WEIGHTS = 1 << 20


def search_scales(
    weight: Tensor, fmt: WeightFormat, entries: Tensor, importance: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Scale, and offset where the format has one, of least weighted squared error for each block.

    A grid of shares of the range is tried; around the best, nearest entries and the closed-form weighted
    least-squares scale (and offset) are found in turn. The error never rises from one to the next.

    Args:
        weight: float32 [rows, cols].
        fmt: blocks, and whether there is an offset.
        entries: float32 [entries], ascending.
        importance: float32 [cols] or [rows, cols], what a squared error of each weight costs; not negative.

    Returns:
        float32 scales and offsets (or None) shaped as `scale_shape` says, not yet rounded to their type.
    """
    shape = scale_shape(fmt, weight.shape)
    # An input without any importance still wants a small error: it may matter elsewhere.
    floor = float(importance.mean()) * 1e-3 or 1.0
    costs = to_blocks((importance + floor).expand_as(weight), fmt)
    blocks = to_blocks(weight, fmt)
    present = to_blocks(torch.ones_like(weight), fmt) > 0
    step = max(1, SLICE_WEIGHTS // max(1, blocks.shape[1]))
    found = [
        _search(blocks[i : i + step], costs[i : i + step], present[i : i + step], entries, fmt)
        for i in range(0, blocks.shape[0], step)
    ]
    scales = torch.cat([scale for scale, _ in found]).reshape(shape)
    if not fmt.has_offset:
        return scales, None
    return scales, torch.cat([offset for _, offset in found]).reshape(shape)


def _search(
    block: Tensor, cost: Tensor, present: Tensor, entries: Tensor, fmt: WeightFormat
) -> tuple[Tensor, Tensor]:
    cost = cost * present
    boundaries = (entries[1:] + entries[:-1]) / 2
    first, last = float(entries[0]), float(entries[-1])
    zero = torch.zeros(block.shape[0], 1)
    if fmt.has_offset:
        low = torch.where(present, block, torch.inf).amin(dim=1, keepdim=True)
        high = torch.where(present, block, -torch.inf).amax(dim=1, keepdim=True)
        whole, middle = (high - low) / (last - first), (high + low) / 2
        centre = (first + last) / 2
    else:
        whole, middle, centre = block.abs().amax(dim=1, keepdim=True) / max(-first, last), zero, 0.0
    best_error = torch.full_like(zero, torch.inf)
    best_scale, best_offset = zero.clone(), zero.clone()

    def consider(scale: Tensor, offset: Tensor) -> Tensor:
        """Keep what is better; give the entries nearest under this scale."""
        nonlocal best_error, best_scale, best_offset
        ratio = torch.where(scale > 0, (block - offset) / scale, torch.zeros_like(block))
        chosen = entries[torch.bucketize(ratio, boundaries, out_int32=True)]
        error = (cost * (block - offset - chosen * scale) ** 2).sum(dim=1, keepdim=True)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_scale = torch.where(better, scale, best_scale)
        best_offset = torch.where(better, offset, best_offset)
        return chosen

    for share in SHARES:
        consider(whole * share, middle - centre * whole * share if fmt.has_offset else zero)
    for _ in range(FITS):
        chosen = consider(best_scale, best_offset)
        consider(*_least_squares(block, cost, chosen, best_scale, fitted_offset=fmt.has_offset))
    return best_scale, best_offset


def _least_squares(
    block: Tensor, cost: Tensor, chosen: Tensor, scale: Tensor, *, fitted_offset: bool
) -> tuple[Tensor, Tensor]:
    """The scale (and offset) of least weighted squared error for given entries; else the old."""

    def total(values: Tensor) -> Tensor:
        return values.sum(dim=1, keepdim=True)

    tt, tw = total(cost * chosen**2), total(cost * chosen * block)
    offset = torch.zeros_like(scale)
    if fitted_offset:
        mass, t, w = total(cost), total(cost * chosen), total(cost * block)
        spread = mass * tt - t**2
        fitted = (mass * tw - t * w) / spread
        usable = (spread > 1e-9 * mass * tt) & (fitted > 0)
        offset = (w - fitted * t) / mass
        fitted = torch.where(usable, fitted, scale)
        return fitted, torch.where(usable, offset, (w - scale * t) / mass)
    fitted = tw / tt
    return torch.where((tt > 0) & (fitted > 0), fitted, scale), offset
