"""Densities of weights that tables are fitted to: counted a slice at a time."""

import numpy as np
import torch
from torch import Tensor

from kbit.formats.fitted_tables import GRID_BINS, GRID_END, Density, Fit, fitted_entries, grid
from kbit.formats.scales import StoredScales, spread_scales
from kbit.formats.weight_format import WeightFormat

SLICE_WEIGHTS = 1 << 20


def quantile_density(weight: Tensor) -> Density:
    """How many weights there are of each bfloat16 value, in units of the tensor's root mean square."""
    scale = float(weight.float().square().mean(dtype=torch.float64).sqrt()) or 1.0
    counts = np.zeros(1 << 16)
    flat = weight.reshape(-1)
    for start in range(0, flat.numel(), SLICE_WEIGHTS):
        units = (flat[start : start + SLICE_WEIGHTS].float() / scale).to(torch.bfloat16)
        patterns = units.cpu().view(torch.int16).to(torch.int32) & 0xFFFF
        counts += np.bincount(patterns.numpy(), minlength=1 << 16)
    with np.errstate(invalid="ignore"):
        values = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32).astype(np.float64)
    finite = np.isfinite(values)
    order = np.argsort(values[finite], kind="stable")
    return Density(values=values[finite][order], mass=counts[finite][order])


def scaled_density(
    weight: Tensor, fmt: WeightFormat, scales: StoredScales, offsets: StoredScales | None = None
) -> Density:
    """Mass of scaled weights, each counted by its scale squared: what a table's squared error is made of.

    In units of the tensor's mean square, so that tensors of one group count by their number of weights.

    Args:
        weight: [rows, cols].
        fmt: blocks of the scales.
        scales: as stored.
        offsets: as stored, where the format has them.
    """
    rows, cols = weight.shape
    mass = np.zeros(GRID_BINS)
    scale_values, offset_values = scales.values, None if offsets is None else offsets.values
    step, total = max(1, SLICE_WEIGHTS // max(1, cols)), 0.0
    for start in range(0, rows if cols else 0, step):
        part = weight[start : start + step].float()
        numbers = torch.arange(start, start + part.shape[0], device=part.device)
        scale = spread_scales(scale_values, fmt, numbers, cols).expand(part.shape)
        if offset_values is not None:
            part = part - spread_scales(offset_values, fmt, numbers, cols)
        used = scale > 0
        ratio = part[used] / scale[used]
        bins = ((ratio / GRID_END + 1) * (GRID_BINS / 2)).clamp(0, GRID_BINS - 1).to(torch.int64)
        mass += np.bincount(
            bins.cpu().numpy(), weights=scale[used].double().square().cpu().numpy(), minlength=GRID_BINS
        )
        total += float(weight[start : start + step].double().square().sum())
    return Density(values=grid(), mass=mass * (rows * cols / total if total else 0.0))


def fit_table(kind: Fit, bits: int, density: Density) -> Tensor:
    """The table of 2^bits ascending values, bfloat16 (see `fitted_entries`)."""
    return torch.from_numpy(fitted_entries(kind, bits, density)).to(torch.bfloat16)
