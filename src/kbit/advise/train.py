"""Advice to train: the parameters, tokens and k that a law calls best for a compute budget.

    C = 6 · params · tokens · (k / 16) + 2 · params · inference_tokens

6 floating-point operations for each parameter and token of training and 2 for each of inference (Kaplan et
al. 2020, arXiv 2001.08361; Sardana et al. 2023, arXiv 2401.00448, eq. 2). The factor k / 16 stands only where
the law knows k: operations of few bits are counted as cheaper in proportion (Kumar et al. 2024, arXiv
2411.04330).

For a Chinchilla law without inference the optimum is known: params = G · (C / 6)^a, with
G = (alpha·A / (beta·B))^(1 / (alpha + beta)) and a = beta / (alpha + beta); tokens follow with b = 1 - a. The
search here is numerical for every law, and tests hold it against that form.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kbit.advise.surface import Surface
from kbit.errors import LawError, UsageError
from kbit.laws.dual import Array

KS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0)
FULL_BITS = 16.0
GRID = 400
LEAST_PARAMS, LEAST_TOKENS = 1e3, 1e3
CURVE = 25
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainChoice:
    """One optimum of a budget.

    Attributes:
        flops: the whole budget; `training_flops` and `inference_flops` are its parts.
        params, tokens: what to train; `tokens_per_parameter` their ratio.
        bits: k of the weights; None where the law does not know it.
        loss: that the law gives; `*_ci95`: percentiles over the law's bootstrap draws, None without draws.
        extrapolation: how many times beyond the fitted sizes it lies; None where those are not known.
    """

    flops: float
    training_flops: float
    inference_flops: float
    params: float
    params_ci95: Interval | None
    tokens: float
    tokens_ci95: Interval | None
    tokens_per_parameter: float
    bits: float | None
    loss: float
    loss_ci95: Interval | None
    extrapolation: float | None
    limited_by: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainAdvice:
    """What to train.

    Attributes:
        best: at the budget.
        by_bits: the optimum at each k, where the law knows k.
        curve: optima at budgets around it, for cost against performance.
        bits_share: of the law's draws, how many call each k best; None without draws or k.
    """

    law: str
    source: str
    response: str
    flops: float
    inference_tokens: float
    memory_gib: float | None
    best: TrainChoice
    by_bits: tuple[TrainChoice, ...]
    bits_share: dict[str, float] | None
    curve: tuple[TrainChoice, ...]
    reasons: tuple[str, ...]
    assumptions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types; what `kbit advise --flops X --json` prints."""
        return asdict(self)


def advise_training(
    surface: Surface,
    *,
    flops: float,
    inference_tokens: float = 0.0,
    memory_gib: float | None = None,
    bits: Sequence[float] = KS,
    notes: Sequence[str] = (),
) -> TrainAdvice:
    """The best model that a compute budget can train.

    Args:
        surface: losses of a law.
        flops: the budget, training and inference together.
        inference_tokens: tokens the model will read and write in its life; 0 leaves inference out.
        memory_gib: the weights, at k bits, must fit in it; None for no limit.
        bits: which k are tried, where the law knows k.
        notes: further assumptions.

    Raises:
        UsageError: a number that is not positive.
        LawError: no model can be trained within the budget.
    """
    for name, value, least in (("flops", flops, 0.0), ("inference_tokens", inference_tokens, -1e-300)):
        if not least < value < math.inf:
            raise UsageError(f"{name} must be {'positive' if name == 'flops' else '0 or more'}, got {value}.")
    if memory_gib is not None and not 0 < memory_gib < math.inf:
        raise UsageError(f"memory_gib must be positive and finite, got {memory_gib}.")
    ks = tuple(bits) if surface.has_bits else (FULL_BITS,)
    if not ks or any(not 1 <= k <= FULL_BITS for k in ks):
        raise UsageError(f"k must be 1 to {FULL_BITS:g}, got {', '.join(f'{k:g}' for k in ks)}.")

    def optimum(budget: float, k: float) -> _Optimum:
        return _optimum(surface, flops=budget, k=k, inference_tokens=inference_tokens, memory_gib=memory_gib)

    optima = [optimum(flops, k) for k in ks]
    best = min(optima, key=lambda o: o.choice.loss)
    budgets = np.geomspace(flops / 100.0, flops * 10.0, CURVE)
    curve = []
    for budget in budgets:
        try:
            curve.append(min((optimum(float(budget), k).choice for k in ks), key=lambda c: c.loss))
        except LawError:
            continue  # too little for the inference asked for
    return TrainAdvice(
        law=surface.name,
        source=surface.source,
        response=surface.response,
        flops=float(flops),
        inference_tokens=float(inference_tokens),
        memory_gib=memory_gib,
        best=best.choice,
        by_bits=tuple(o.choice for o in optima) if surface.has_bits else (),
        bits_share=_shares(optima) if surface.has_bits else None,
        curve=tuple(curve),
        reasons=tuple(_reasons(surface, best.choice, optima)),
        assumptions=(*_assumptions(surface, inference_tokens, memory_gib), *notes),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Optimum:
    choice: TrainChoice
    draw_losses: Array | None


def _optimum(
    surface: Surface, *, flops: float, k: float, inference_tokens: float, memory_gib: float | None
) -> _Optimum:
    rate = 6.0 * (k / FULL_BITS)
    # Tokens are what the budget leaves: (C - 2 N D_inference) / (6 N k / 16).
    most = flops / (rate * LEAST_TOKENS + 2.0 * inference_tokens)
    limit = None
    if memory_gib is not None and 8 * 2**30 * memory_gib / k < most:
        most, limit = 8 * 2**30 * memory_gib / k, "memory"
    if most <= LEAST_PARAMS:
        raise LawError(
            f"a budget of {flops:.3g} operations trains no model of {LEAST_PARAMS:g} parameters on "
            f"{LEAST_TOKENS:g} tokens"
            + (f" and serves {inference_tokens:.3g} tokens" if inference_tokens else "")
            + ": give more, or ask for less inference."
        )  # fmt: skip

    def tokens_of(params: Array) -> Array:
        return np.asarray(flops / params - 2.0 * inference_tokens) / rate

    def at(log_params: Array, theta: Array) -> Array:
        params = np.exp(log_params)
        return surface.losses(theta, params, tokens_of(params), k)

    low, high = math.log(LEAST_PARAMS), math.log(most)
    grid = np.linspace(low, high, GRID)
    place = _refine(grid, at, surface.theta[None])
    params = math.exp(place)
    tokens = float(tokens_of(np.array([params]))[0])
    loss = float(at(np.array([place]), surface.theta[None])[0, 0])
    params_ci = tokens_ci = loss_ci = None
    draw_losses = None
    if surface.draws is not None:
        found = _draw_optima(grid, at(grid, surface.draws))
        logs, draw_losses = found
        params_ci = _percentiles(np.exp(logs))
        tokens_ci = _percentiles(tokens_of(np.exp(logs)))
        loss_ci = _percentiles(draw_losses)
    inside = high - place > 1e-6 * max(1.0, abs(high))
    return _Optimum(
        choice=TrainChoice(
            flops=flops,
            training_flops=rate * params * tokens,
            inference_flops=2.0 * params * inference_tokens,
            params=params,
            params_ci95=params_ci,
            tokens=tokens,
            tokens_ci95=tokens_ci,
            tokens_per_parameter=tokens / params,
            bits=k if surface.has_bits else None,
            loss=loss,
            loss_ci95=loss_ci,
            extrapolation=_beyond(surface, params, tokens),
            limited_by=None if inside else limit,
        ),
        draw_losses=draw_losses,
    )


def _refine(grid: Array, at: Any, theta: Array) -> float:
    """The place of the least loss: the grid's, then ever finer ones around it."""
    for _ in range(6):
        values = at(grid, theta)[0]
        i = int(np.nanargmin(values))
        if i in (0, grid.size - 1) and grid[-1] - grid[0] < 1e-7:
            return float(grid[i])
        grid = np.linspace(grid[max(i - 1, 0)], grid[min(i + 1, grid.size - 1)], 81)
    values = at(grid, theta)[0]
    return float(grid[int(np.nanargmin(values))])


def _draw_optima(grid: Array, values: Array) -> tuple[Array, Array]:
    """Place and height of each draw's least value [draws, grid], by a parabola through three points."""
    i = np.clip(np.nanargmin(values, axis=1), 1, grid.size - 2)
    rows = np.arange(values.shape[0])
    left, middle, right = values[rows, i - 1], values[rows, i], values[rows, i + 1]
    bend = left - 2.0 * middle + right
    shift = np.where(bend > 0, 0.5 * (left - right) / np.where(bend > 0, bend, 1.0), 0.0)
    shift = np.clip(shift, -1.0, 1.0)
    step = grid[1] - grid[0]
    height = middle - 0.25 * (left - right) * shift
    return np.asarray(grid[i] + shift * step), np.asarray(height)


def _percentiles(values: Array) -> Interval:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def _beyond(surface: Surface, params: float, tokens: float) -> float | None:
    found = [
        max(value / surface.ranges[role][1], surface.ranges[role][0] / value, 1.0)
        for role, value in (("params", params), ("tokens", tokens))
        if role in surface.ranges
    ]
    return max(found) if found else None


def _shares(optima: Sequence[_Optimum]) -> dict[str, float] | None:
    if any(o.draw_losses is None for o in optima):
        return None
    losses = np.stack([o.draw_losses for o in optima if o.draw_losses is not None])
    winners = np.argmin(losses, axis=0)
    return {f"{o.choice.bits:g}": float(np.mean(winners == i)) for i, o in enumerate(optima)}


def _reasons(surface: Surface, best: TrainChoice, optima: Sequence[_Optimum]) -> list[str]:
    said = f" at k = {best.bits:g}" if best.bits is not None else ""
    words = [
        f"{count(best.params)} parameters on {count(best.tokens)} tokens{said}: "
        f"{best.tokens_per_parameter:.3g} tokens for each parameter, {best.loss:.4f} {surface.response}."
    ]
    if best.limited_by == "memory":
        words.append("A larger model would be better, but its weights would not fit in the memory.")
    if best.extrapolation is not None and best.extrapolation > 1:
        words.append(f"That is {best.extrapolation:.3g} times beyond what the law was fitted to.")
    ks = [o.choice.bits for o in optima if o.choice.bits is not None]
    if len(ks) > 1 and best.bits in (min(ks), max(ks)):
        end = "least" if best.bits == min(ks) else "most"
        words.append(
            f"k = {best.bits:g} is the {end} that was tried, so this is no optimum inside: it hangs on "
            "training costing in proportion to k. Where hardware is not faster with fewer bits, compare "
            "losses at the k that you can train."
        )
    shares = _shares(optima) if surface.has_bits else None
    if shares:
        words.append(
            "Of the law's draws "
            + ", ".join(f"{share:.0%} call k = {k} best" for k, share in shares.items() if share >= 0.005)
            + "."
        )
    words += [f"The law warns: {w}" for w in surface.warnings]
    return words


def _assumptions(surface: Surface, inference_tokens: float, memory_gib: float | None) -> list[str]:
    words = [
        f"Losses are those of {surface.name}, {surface.source}.",
        "Training takes 6 operations for each parameter and token"
        + (
            ", counted in proportion to k / 16, as if hardware were that much faster with fewer bits."
            if surface.has_bits
            else "."
        ),
        f"Inference takes 2 operations for each parameter and token; {inference_tokens:.3g} tokens count."
        if inference_tokens
        else "Inference is not counted.",
        "Each token is new: no text is repeated.",
    ]
    if surface.draws is None:
        words.append("Published constants come without draws, so there are no intervals.")
    else:
        words.append(
            f"Intervals are percentiles over {surface.draws.shape[0]} draws of the law's parameters; "
            "that the law may be wrong is not in them."
        )
    if memory_gib is not None:
        words.append(f"The weights, at k bits without scales, fit in {memory_gib:g} GiB.")
    return words


def count(value: float) -> str:
    """How many, with a decimal prefix.

    >>> count(6.7e10), count(1.4e12)
    ('67B', '1.4T')
    """
    for unit, width in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= width:
            return f"{value / width:.3g}{unit}"
    return f"{value:.3g}"
