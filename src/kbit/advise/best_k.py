"""The k that a fitted law calls best at equal stored bits, with its interval, and whether it moves with size.

At S stored bits a model of k bits has S / (k + 16 / block) parameters: k bits for each weight and a 16-bit
scale for each block (none at 16 bits). The law gives each k a response there; the best is k*. The same is
done for every draw of the law's parameters, which gives the interval and each k's share of the draws.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kbit.errors import KbitError, LawError, UsageError
from kbit.laws import Fit
from kbit.laws.dual import Array
from kbit.laws.result import extrapolation, input_columns

FULL_BITS, SCALE_BITS = 16.0, 16.0
KS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, FULL_BITS)
STEPS = 301
SIZES = 5
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class BestAt:
    """At one size.

    Attributes:
        stored_bits: of the model.
        k: the best; `at_bound`: the least or the most that was tried, so no optimum inside.
        ci95: percentiles of the best over the law's draws; None without draws.
        shares: of the draws, how many call each k best; None for a law in which k is continuous.
        params, response: of the best, as the law has it.
        extrapolation: how many times beyond the fitted sizes the best lies; 1 inside.
    """

    stored_bits: float
    k: float
    at_bound: bool
    ci95: Interval | None
    shares: dict[str, float] | None
    params: float
    response: float
    extrapolation: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BestK:
    """k* of a law over sizes.

    Attributes:
        change: k* at the largest size less that at the smallest; `change_ci95` over the draws.
        moves: whether that interval excludes 0; None without draws.
    """

    law: str
    sizes: tuple[BestAt, ...]
    change: float
    change_ci95: Interval | None
    moves: bool | None
    reasons: tuple[str, ...]
    assumptions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types."""
        return asdict(self)


def best_k(
    fit: Fit,
    *,
    sizes: Sequence[float] | None = None,
    block: int = 64,
    datatype: str = "nf",
) -> BestK:
    """The k that a law calls best at equal stored bits.

    Args:
        fit: of a law in `params` and `bits`, or `params` and `mse`; other inputs are held at the middle of
            what was fitted.
        sizes: stored bits; by default five for which no k asks the law beyond its parameters' range.
        block: weights that share a scale.
        datatype: `nf`, `int`, …: whose error on a Gaussian each k has, for a law in `mse`.

    Raises:
        LawError: the law does not know k, or gives a damage, which more bits always lessen.
        UsageError: a size that is not positive, or a data type that does not exist.
    """
    form = fit.form
    roles = {i.role for i in form.inputs}
    if fit.bound is None or fit.theta is None or "params" not in roles or not roles & {"bits", "mse"}:
        raise LawError(
            f"law {fit.law!r} does not say what k does at equal stored bits. Fit one in params and bits: "
            "offset-by-bits, effective-by-bits, effective-parameters, or capacity-by-error (params and mse)."
        )
    if "damage" in fit.law:
        raise LawError(
            f"law {fit.law!r} gives what quantising costs, which more bits always lessen: it has no best k. "
            "Fit a law of the loss or the gain itself."
        )
    if sizes is not None and (not sizes or any(not 0 < s < math.inf for s in sizes)):
        raise UsageError("sizes are stored bits: positive and finite.")
    if block < 1:
        raise UsageError(f"a block has at least 1 weight, got {block}.")
    ks, continuous = _ks(fit)
    errors = None if "mse" not in roles else _errors(datatype, ks, block)
    if errors is not None:
        ks, errors = ks[np.isfinite(errors)], errors[np.isfinite(errors)]
    per_weight = ks + np.where(ks < FULL_BITS, SCALE_BITS / block, 0.0)
    chosen = np.array(sorted(sizes)) if sizes is not None else _sizes(fit, per_weight)
    thetas = fit.theta[None] if fit.draws is None else np.concatenate([fit.theta[None], fit.draws])
    found: list[BestAt] = []
    winners: list[Array] = []
    for size in chosen:
        columns = _columns(fit, size / per_weight, ks, errors)
        values = fit.bound.values(thetas, columns)
        best = _best(values, rising=fit.direction == "rising")
        winners.append(ks[best])
        i = int(best[0])
        found.append(
            BestAt(
                stored_bits=float(size),
                k=float(ks[i]),
                at_bound=bool(i in (0, len(ks) - 1)),
                ci95=None if fit.draws is None else _percentiles(ks[best[1:]]),
                shares=None
                if continuous or fit.draws is None
                else {f"{k:g}": float(np.mean(best[1:] == j)) for j, k in enumerate(ks)},
                params=float(size / per_weight[i]),
                response=float(values[0, i]),
                extrapolation=float(extrapolation(fit.input_ranges, columns)[i]),
            )
        )
    changes = winners[-1] - winners[0]
    ends = None if fit.draws is None else _percentiles(changes[1:])
    moves = None if ends is None else not ends[0] <= 0.0 <= ends[1]
    return BestK(
        law=fit.law,
        sizes=tuple(found),
        change=float(changes[0]),
        change_ci95=ends,
        moves=moves,
        reasons=tuple(_reasons(fit, found, changes, ends)),
        assumptions=(
            f"At equal stored bits: k bits for each weight and a 16-bit scale for every {block}; "
            "all weights at k.",
            *(["A law's draws hold what its data leave open, not whether the law is right."] if ends else []),
            *(
                [f"The error of k bits is that of {datatype} in blocks of {block} on a Gaussian."]
                if errors is not None
                else []
            ),
            *(f"{role} is held at {value:.3g}." for role, value in _held(fit).items()),
        ),
    )


def _ks(fit: Fit) -> tuple[Array, bool]:
    levels = fit.form.levels_input
    if levels is not None:
        return np.array(sorted(float(level) for level in fit.levels)), False
    if any(i.role == "mse" for i in fit.form.inputs):
        return np.array(KS), False
    return np.linspace(1.0, FULL_BITS, STEPS), True


def _errors(datatype: str, ks: Array, block: int) -> Array:
    """Squared error of each k on a unit Gaussian; NaN where the type has no such k; 0 at 16 bits."""
    from kbit.formats import gaussian_mse, parse_format

    errors = []
    for k in ks:
        try:
            errors.append(
                0.0 if k >= FULL_BITS else gaussian_mse(parse_format(f"{datatype}{int(k)}:b{block}"))
            )
        except (KbitError, ValueError):
            errors.append(math.nan)
    if np.isfinite(errors).sum() < 3:
        raise UsageError(f"there is no data type {datatype!r} of several k: take nf or int.")
    return np.array(errors)


def _sizes(fit: Fit, per_weight: Array) -> Array:
    low, high = fit.input_ranges["params"]
    first, last = low * per_weight.max(), high * per_weight.min()
    if first >= last:  # the law's range is narrower than that of k: something lies outside of it
        first, last = low * float(np.median(per_weight)), high * float(np.median(per_weight))
    return np.geomspace(first, last, SIZES)


def _held(fit: Fit) -> dict[str, float]:
    """Other inputs than size and k, at the geometric middle of what was fitted."""
    others = [i.role for i in fit.form.inputs if i.role not in ("params", "bits", "mse")]
    return {
        role: math.sqrt(fit.input_ranges[role][0] * fit.input_ranges[role][1])
        for role in others
        if role in fit.input_ranges
    }


def _columns(fit: Fit, params: Array, ks: Array, errors: Array | None) -> dict[str, Array]:
    inputs: dict[str, Any] = {"params": params, "bits": ks}
    if errors is not None:
        inputs["mse"] = errors
    inputs |= {role: np.full_like(params, value) for role, value in _held(fit).items()}
    return input_columns(fit.form, {i.role: inputs[i.role] for i in fit.form.inputs}, fit.levels)


def _best(values: Array, *, rising: bool) -> Array:
    """Place of each row's best [draws]; what is not finite never wins."""
    heights = np.where(np.isfinite(values), values if rising else -values, -np.inf)
    return np.asarray(np.argmax(heights, axis=1))


def _percentiles(values: Array) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _reasons(fit: Fit, found: list[BestAt], changes: Array, ends: Interval | None) -> list[str]:
    first, last = found[0], found[-1]
    words = []
    for at in (first, last) if len(found) > 1 else (first,):
        sure = "" if at.ci95 is None else f" ({at.ci95[0]:g} to {at.ci95[1]:g})"
        edge = ", the end of what was tried, so no optimum inside it" if at.at_bound else ""
        words.append(f"At {at.stored_bits:.3g} stored bits k* = {at.k:g}{sure}{edge}.")
    if len(found) < 2:
        return words
    if not changes.any():
        words.append("k* is the same at every size, in every draw.")
    elif ends is None:
        words.append("Without draws it is not known whether k* moves with size.")
    elif ends[0] <= 0.0 <= ends[1]:
        words.append(
            f"k* cannot be said to move with size: it changes by {changes[0]:g} ({ends[0]:g} to {ends[1]:g})."
        )
    else:
        words.append(f"k* moves with size: by {changes[0]:g} ({ends[0]:g} to {ends[1]:g}).")
    words += [f"The law warns: {w}" for w in fit.warnings]
    return words
