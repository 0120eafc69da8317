"""The allocation of least damage within a budget of bits: a knapsack with one choice for each layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kbit.errors import UsageError

# Partial allocations kept at once; past it the Lagrangian solution is taken and its gap told.
MAX_STATES = 500_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocation:
    """One choice for each layer.

    Attributes:
        choices: index of the option of each layer.
        bits: what they cost together.
        damage: what they do together.
        gap: the least damage there is may be lower by at most this; 0 where the allocation is proved best.
    """

    choices: tuple[int, ...]
    bits: int
    damage: float
    gap: float


def allocate(bits: Sequence[Sequence[int]], damage: Sequence[Sequence[float]], budget: int) -> Allocation:
    """Choose one option a layer: sum of damage least, sum of bits at most the budget.

    A Lagrangian relaxation gives a first allocation and, for every partial one, a bound on what it can
    still become (Everett 1963; Shoham & Gersho 1988). Partial allocations that are dominated, or that cannot
    beat the first one, are dropped; what is left at the end is the optimum.

    Args:
        bits: of each layer's options.
        damage: of the same, any numbers; smaller is better.
        budget: in bits.

    Raises:
        UsageError: even the smallest options are over the budget.

    >>> allocate([[2, 4], [2, 4]], [[9.0, 1.0], [5.0, 2.0]], budget=6).choices
    (1, 0)
    """
    costs = [np.asarray(row, dtype=np.int64) for row in bits]
    harms = [np.asarray(row, dtype=np.float64) for row in damage]
    least = sum(int(row.min()) for row in costs)
    if least > budget:
        raise UsageError(
            f"the smallest formats take {least} bits in all and the budget is {budget}. Raise the target, or "
            "allow smaller formats."
        )
    price, first = _relaxed(costs, harms, budget)
    first_damage = sum(float(h[j]) for h, j in zip(harms, first, strict=True))
    # What the layers from i on add at least, at this price of a bit.
    floors = [float((h + price * c).min()) for c, h in zip(costs, harms, strict=True)]
    rest = np.append(np.cumsum(floors[::-1])[::-1], 0.0)
    needs = np.append(np.cumsum([int(c.min()) for c in costs][::-1])[::-1], 0)
    bound = float(rest[0] - price * budget)
    best = _search(costs, harms, budget, price, first_damage, rest, needs)
    if best is None:
        choices, gap = first, max(0.0, first_damage - bound)
    else:
        choices, gap = best, 0.0
    return Allocation(
        choices=tuple(int(j) for j in choices),
        bits=sum(int(c[j]) for c, j in zip(costs, choices, strict=True)),
        damage=sum(float(h[j]) for h, j in zip(harms, choices, strict=True)),
        gap=gap,
    )


def _relaxed(costs: list[np.ndarray], harms: list[np.ndarray], budget: int) -> tuple[float, list[int]]:
    """The least price of a bit at which what each layer likes best fits the budget, and those choices."""

    def liked(price: float) -> list[int]:
        # Of equals the cheaper: the price then fits the budget as soon as it can.
        return [int(np.lexsort((c, h + price * c))[0]) for c, h in zip(costs, harms, strict=True)]

    def total(choices: list[int]) -> int:
        return sum(int(c[j]) for c, j in zip(costs, choices, strict=True))

    low, high = 0.0, 1e-12
    if total(liked(0.0)) <= budget:
        return 0.0, liked(0.0)
    while total(liked(high)) > budget:
        high *= 4
        if high > 1e30:  # damages that do not fall with bits: take the smallest options
            return high, [int(np.argmin(c)) for c in costs]
    for _ in range(200):
        middle = (low + high) / 2
        if total(liked(middle)) > budget:
            low = middle
        else:
            high = middle
    return high, _filled(costs, harms, liked(high), budget)


def _filled(costs: list[np.ndarray], harms: list[np.ndarray], choices: list[int], budget: int) -> list[int]:
    """Spend what the relaxation left over, the most good for a bit first."""
    left = budget - sum(int(c[j]) for c, j in zip(costs, choices, strict=True))
    while True:
        best, change = 0.0, None
        for i, (c, h) in enumerate(zip(costs, harms, strict=True)):
            more, good = c - c[choices[i]], h[choices[i]] - h
            fits = (more <= left) & (good > 0)
            if fits.any():
                worth = np.where(fits, good / np.maximum(more, 1), -1.0)
                j = int(worth.argmax())
                if worth[j] > best:
                    best, change = float(worth[j]), (i, j, int(more[j]))
        if change is None:
            return choices
        choices[change[0]], left = change[1], left - change[2]


def _search(
    costs: list[np.ndarray],
    harms: list[np.ndarray],
    budget: int,
    price: float,
    known: float,
    rest: np.ndarray,
    needs: np.ndarray,
) -> list[int] | None:
    """The optimum over all partial allocations that may lead to it; None where they are too many."""
    spent, harm = np.zeros(1, dtype=np.int64), np.zeros(1)
    trail: list[tuple[np.ndarray, np.ndarray]] = []
    for i, (c, h) in enumerate(zip(costs, harms, strict=True)):
        parent = np.repeat(np.arange(len(spent)), len(c))
        choice = np.tile(np.arange(len(c)), len(spent))
        bits, done = spent[parent] + c[choice], harm[parent] + h[choice]
        slack = 1e-12 * max(1.0, abs(known))
        may = (bits + needs[i + 1] <= budget) & (
            done + rest[i + 1] - price * (budget - bits) <= known + slack
        )
        parent, choice, bits, done = parent[may], choice[may], bits[may], done[may]
        order = np.lexsort((done, bits))
        parent, choice, bits, done = parent[order], choice[order], bits[order], done[order]
        before = np.concatenate([[np.inf], np.minimum.accumulate(done)[:-1]])
        undominated = done < before
        parent, choice = parent[undominated], choice[undominated]
        spent, harm = bits[undominated], done[undominated]
        if len(spent) > MAX_STATES or not len(spent):
            return None
        trail.append((parent, choice))
    at = int(np.argmin(harm))
    choices: list[int] = []
    for parents, chosen in reversed(trail):
        choices.append(int(chosen[at]))
        at = int(parents[at])
    return choices[::-1]
