"""Coordinate descent: each code chosen again, and each scale fitted again, with all others as they are.

The objective is trace((W - Q) H (W - Q)^T). No step raises it, so what comes out is never worse than
what went in (QuantEase: Behdin et al. 2023, arXiv 2309.01885; here for any lattice, with scales).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kbit.quantize.codes.grid import Grid

PANEL = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """Codes after some sweeps.

    Attributes:
        codes: uint8 [rows, cols].
        changed: how many codes the last sweep changed.
        sweeps: how many were made.
    """

    codes: Tensor
    changed: int
    sweeps: int


def descend(weight: Tensor, hessian: Tensor, grid: Grid, codes: Tensor, *, sweeps: int) -> Swept:
    """Choose every code again, column by column, until nothing changes or the sweeps are used up.

    For one column the best real value is q_j + (E H)_j / H_jj, and the nearest entry to it is the best
    entry, because the objective is a parabola in q_j. Where the codes of a column are chosen together
    (trellis-coded types) so are the best ones.

    Args:
        weight: float32 [rows, cols].
        hessian: float32 [cols, cols], positive diagonal.
        grid: what each weight may become.
        codes: uint8 [rows, cols] to begin with.
        sweeps: at most so many.
    """
    codes = codes.clone()
    value = grid.values(codes)
    cols = weight.shape[1]
    changed, done = 0, 0
    for _ in range(sweeps):
        changed = 0
        # Made anew for each sweep, so that rounding does not add up.
        pull = (weight - value) @ hessian
        for start in range(0, cols, PANEL):
            stop = min(start + PANEL, cols)
            inner = hessian[start:stop, start:stop]
            panel = pull[:, start:stop].clone()
            moved = torch.zeros_like(panel)
            for column in range(start, stop):
                at = column - start
                old = value[:, column]
                wanted = old + panel[:, at] / inner[at, at]
                code, new = grid.nearest(wanted, column)
                # Codes that are chosen together are the best ones but for the ring they close.
                if (wanted - new).square().sum() >= (wanted - old).square().sum():
                    continue
                step = new - old
                changed += int(torch.count_nonzero(code != codes[:, column]))
                codes[:, column] = code
                value[:, column] = new
                moved[:, at] = step
                panel -= torch.outer(step, inner[at])
            pull[:, stop:] -= moved @ hessian[start:stop, stop:]
        done += 1
        if not changed:
            break
    return Swept(codes=codes, changed=changed, sweeps=done)
