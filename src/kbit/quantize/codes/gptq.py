"""GPTQ: codes column by column, each error made good by the columns that follow."""

import torch
from torch import Tensor

from kbit.quantize.codes.grid import Grid
from kbit.quantize.codes.hessian import Damped

# Columns updated at once; what lies beyond is updated by one matrix product a panel.
PANEL = 128


def gptq_codes(weight: Tensor, hessian: Damped, grid: Grid, *, order: Tensor | None = None) -> Tensor:
    """Choose codes by Frantar et al. 2023 (arXiv 2210.17323, algorithm 1), for any lattice.

    Args:
        weight: float32 [rows, cols].
        hessian: of the layer's inputs, damped.
        grid: what each weight may become; scales are settled before.
        order: column numbers in the order they are coded; None begins with the costliest
            (`activation order`: greatest diagonal first).

    Returns:
        uint8 [rows, cols], in the weight's own order of columns.
    """
    if order is None:
        order = activation_order(hessian)
    back = torch.argsort(order)
    left = weight[:, order].contiguous()
    ordered = grid.columns(order)
    matrix = hessian.matrix[order][:, order]
    factor = Damped(
        matrix=matrix, damping=hessian.damping, raised=hessian.raised, dead=hessian.dead
    ).inverse_factor()
    codes = torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)
    cols = weight.shape[1]
    for start in range(0, cols, PANEL):
        stop = min(start + PANEL, cols)
        panel = left[:, start:stop].clone()
        errors = torch.empty_like(panel)
        for column in range(start, stop):
            at = column - start
            codes[:, column], value = ordered.nearest(panel[:, at], column)
            errors[:, at] = (panel[:, at] - value) / factor[column, column]
            panel[:, at + 1 :] -= torch.outer(errors[:, at], factor[column, column + 1 : stop])
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    return codes[:, back]


def activation_order(hessian: Damped) -> Tensor:
    """Columns by falling diagonal; ties keep their order."""
    return torch.argsort(hessian.matrix.diagonal(), descending=True, stable=True)
