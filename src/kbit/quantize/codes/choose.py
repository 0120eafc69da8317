"""Codes for one weight, given the second moments of its inputs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kbit.formats import PackedTensor, WeightFormat, decode, encode
from kbit.formats.encoding import encode_scaled
from kbit.formats.packing import unpack_codes
from kbit.formats.scales import store_offsets, store_scales
from kbit.quantize.codes.descent import descend
from kbit.quantize.codes.gptq import gptq_codes
from kbit.quantize.codes.grid import grid_of, with_codes
from kbit.quantize.codes.hessian import FIRST_DAMPING, Damped, damped, quadratic_error
from kbit.quantize.codes.refit import refit_scales
from kbit.quantize.codes.scale_search import search_scales
from kbit.quantize.codes.trellis_search import fit_trellis_scales


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Which steps choose the codes.

    Attributes:
        search: scales of least squared error weighted by the diagonal, instead of the block's range.
        feedback: errors made good by later columns (GPTQ), instead of nearest entries.
        rounds: how often codes are chosen again one by one, and scales fitted again.
        sweeps: at most so many over all columns in a round.
        follow: aim at the original model's outputs, not at this weight times the changed inputs.
        damping: share of the mean diagonal that is added to the Hessian.
    """

    search: bool
    feedback: bool
    rounds: int = 0
    sweeps: int = 3
    follow: bool = False
    damping: float = FIRST_DAMPING


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Second moments of a layer's inputs, summed over tokens.

    Attributes:
        hessian: X^T X of the inputs the layer will get, float32 [cols, cols].
        cross: X0^T X with X0 the inputs in the original model; None where the two are the same.
        tokens: how many.
    """

    hessian: Tensor
    cross: Tensor | None
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """A weight's codes, and how good they are.

    Attributes:
        packed: what is stored.
        error: squared error of the output, mean over tokens and summed over rows.
        nearest_error: the same for nearest entries with the scales of `encode`.
        damping: share of the mean diagonal that was added to the Hessian.
        damping_raised: it had to be more than asked for.
        dead_inputs: inputs that were always zero.
    """

    packed: PackedTensor
    error: float
    nearest_error: float
    damping: float
    damping_raised: bool
    dead_inputs: int


def choose_codes(
    weight: Tensor, fmt: WeightFormat, moments: Moments, recipe: Recipe, *, table: Tensor | None = None
) -> Chosen:
    """Codes and scales of small output error. Never worse than nearest entries on these inputs.

    Args:
        weight: [rows, cols], finite.
        fmt: a packed format.
        moments: of the layer's inputs.
        recipe: which steps to take.
        table: [2^bits] for a type whose table is made from data; None otherwise.

    Raises:
        FormatError: the format cannot hold the weight.
        ValueError: the moments hold NaN or infinity.
    """
    weight = weight.float()
    nearest = encode(weight, fmt, table=table)
    hessian = damped(moments.hessian / max(1, moments.tokens), recipe.damping)
    target = _target(weight, moments, hessian) if recipe.follow else weight
    best = nearest
    if target is weight:
        codes = unpack_codes(nearest.codes, fmt.bits, weight.shape[1])
    else:
        codes = grid_of(nearest).nearest(target, slice(None))[0]
    candidates = [(nearest, codes)]
    if recipe.search:
        if fmt.datatype.window is not None:
            searched = fit_trellis_scales(target, with_codes(nearest, codes), hessian.matrix.diagonal())
        else:
            searched = _with_scales(nearest, target, hessian)
        if recipe.feedback:
            candidates.append((searched, gptq_codes(target, hessian, grid_of(searched))))
        else:
            candidates.append((searched, grid_of(searched).nearest(target, slice(None))[0]))
    elif recipe.feedback:
        candidates.append((nearest, gptq_codes(target, hessian, grid_of(nearest))))

    def cost(packed: PackedTensor, codes: Tensor) -> float:
        return quadratic_error(target - grid_of(packed).values(codes), hessian.matrix)

    best, codes = min(candidates, key=lambda pair: cost(*pair))
    if recipe.rounds and fmt.datatype.window is not None:
        # A column's codes are its best ones together, so little is left to sweep for, and each takes long.
        best = refit_scales(target, hessian.matrix, best, codes)
        codes = descend(target, hessian.matrix, grid_of(best), codes, sweeps=1).codes
        best = refit_scales(target, hessian.matrix, best, codes)
    elif recipe.rounds:
        for _ in range(recipe.rounds):
            codes = descend(target, hessian.matrix, grid_of(best), codes, sweeps=recipe.sweeps).codes
            best = refit_scales(target, hessian.matrix, best, codes)
        codes = descend(target, hessian.matrix, grid_of(best), codes, sweeps=recipe.sweeps).codes
    plain = (moments.hessian / max(1, moments.tokens)).float()
    return Chosen(
        packed=with_codes(best, codes),
        error=quadratic_error(target - grid_of(best).values(codes), plain),
        nearest_error=quadratic_error(target - decode(nearest), plain),
        damping=hessian.damping,
        damping_raised=hessian.raised,
        dead_inputs=int(hessian.dead.sum()),
    )


def _target(weight: Tensor, moments: Moments, hessian: Damped) -> Tensor:
    """The real-valued weight whose outputs on the changed inputs are nearest to the original ones.

    Minimises |X0 W^T - X T^T|^2 + added |T - W|^2, with what damping added to the diagonal.
    """
    if moments.cross is None:
        return weight
    tokens = max(1, moments.tokens)
    alive = torch.where(hessian.dead, 0.0, 1.0)
    difference = (moments.cross - moments.hessian) / tokens * alive
    moved = weight.double() @ difference.double()
    factor = torch.linalg.cholesky(hessian.matrix.double())
    return weight + torch.cholesky_solve(moved.T, factor).T.float()


def _with_scales(nearest: PackedTensor, target: Tensor, hessian: Damped) -> PackedTensor:
    fmt = nearest.format
    importance = hessian.matrix.diagonal()
    scales, offsets = search_scales(target, fmt, grid_of(nearest).entries, importance)
    return encode_scaled(
        target,
        fmt,
        store_scales(scales, fmt),
        None if offsets is None else store_offsets(offsets, fmt),
        table=nearest.table,
    )
