"""Points of a frontier, from a store's rows or from any table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kbit.advise.choose import candidates
from kbit.advise.curves import Point
from kbit.errors import LawError, UsageError, did_you_mean
from kbit.laws.table import FALLING, RESPONSES, RISING, as_columns, level_name, numbers

SCALE_BITS = 16
ALIASES: Mapping[str, tuple[str, ...]] = {
    "family": ("family",),
    "model": ("model",),
    "params": ("params", "parameters", "N"),
    "bits": ("format_bits", "bits", "k", "w_bits"),
    "block": ("block", "group_size"),
    "stored_bits": ("stored_bits",),
    "low": ("gain_low", "low"),
    "high": ("gain_high", "high"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Points:
    """What a frontier compares, which way is better, and what was taken for granted to get there."""

    points: tuple[Point, ...]
    higher_is_better: bool
    assumptions: tuple[str, ...]


def points_from_gains(rows: Sequence[Mapping[str, Any]], *, text: str | None = None) -> Points:
    """Points of a store's rows: gains against stored bits, labelled by k.

    Raises:
        LawError: no gains, or several texts or baselines to choose from.
    """
    found = []
    for c in candidates(rows, text=text):
        size, bits = c.row.get("stored_bits"), c.bits
        if size is None or bits is None or c.gain is None:
            continue
        found.append(
            Point(
                family=c.family or "all models",
                model=c.name,
                label=level_name(bits),
                stored_bits=float(size),
                value=c.gain,
                ci95=c.ci95,
                params=_positive(c.row.get("parameters")),
            )
        )
    if not found:
        raise LawError("no row with a gain tells its stored bits and its k.")
    return Points(points=tuple(found), higher_is_better=True, assumptions=("Up is gain in bits per byte.",))


def points_from_table(
    rows: Sequence[Mapping[str, Any]],
    *,
    columns: Mapping[str, str] | None = None,
    better: Literal["higher", "lower"] | None = None,
    block: int | None = None,
    items: int | None = None,
) -> Points:
    """Points of any table: sizes as `stored_bits`, or as parameters times effective bits.

    Effective bits of k-bit weights in blocks are k + (16 + k) / block: a 16-bit scale and a k-bit zero point
    for each block, as group-wise quantisers store them. Rows of 16 bits and more have no blocks.

    Args:
        rows: a mapping each.
        columns: role -> column: family, model, params, bits, block, stored_bits, low, high, and the response.
        better: which values are better; by default from the response's role, else from its rank correlation
            with size.
        block: weights that share a scale, where no column says it; None counts no scales.
        items: how many questions each accuracy counts: gives Wilson's 95% intervals to rows without.

    Raises:
        LawError: a role or column that is not there, no usable row, or a value that is no accuracy.
        UsageError: `items` is not positive.
    """
    if items is not None and items < 1:
        raise UsageError(f"an accuracy counts at least 1 item, got {items}.")
    source = as_columns(list(rows))
    roles = _roles(columns or {}, source)
    response = next((r for r in RESPONSES if r in roles), None)
    if response is None:
        response = next((r for r in RESPONSES if r in source), None)
        if response is None:
            raise LawError(
                f"which column is the value? Say --column value=COLUMN. It has: {', '.join(source)}."
            )
        roles[response] = response
    values = numbers(source[roles[response]], roles[response])
    bits = numbers(source[_need(roles, "bits", source)], roles["bits"])
    sizes, notes = _sizes(roles, source, bits, block)
    keep = np.isfinite(values) & np.isfinite(bits) & np.isfinite(sizes)
    if not keep.any():
        raise LawError("no row has a family's size, its bits and a value.")
    low = numbers(source[roles["low"]], roles["low"]) if "low" in roles else None
    high = numbers(source[roles["high"]], roles["high"]) if "high" in roles else None
    family, model = roles.get("family"), roles.get("model")
    params = numbers(source[roles["params"]], roles["params"]) if "params" in roles else None
    wilson = None if items is None else _wilson(values, keep, items)
    points = []
    for i in np.flatnonzero(keep):
        ends = None
        if low is not None and high is not None and np.isfinite(low[i]) and np.isfinite(high[i]):
            ends = (float(low[i]), float(high[i]))
        elif wilson is not None:
            ends = (float(wilson[0][i]), float(wilson[1][i]))
        points.append(
            Point(
                family=str(source[family][i]) if family else "all models",
                model=str(source[model][i]) if model else f"row {i + 1}",
                label=level_name(float(bits[i])),
                stored_bits=float(sizes[i]),
                value=float(values[i]),
                ci95=ends,
                params=None if params is None else _positive(params[i]),
            )
        )
    if items is not None:
        notes.append(f"Intervals are Wilson's, for accuracies that count {items} items.")
    if not keep.all():
        notes.append(f"{int((~keep).sum())} rows with missing values were left out.")
    up = _higher_is_better(response, better, sizes[keep], values[keep])
    notes.append(f"{'Higher' if up else 'Lower'} values of {roles[response]} are better.")
    return Points(points=tuple(points), higher_is_better=up, assumptions=tuple(notes))


def _roles(columns: Mapping[str, str], source: Mapping[str, Any]) -> dict[str, str]:
    known = (*ALIASES, *RESPONSES)
    roles: dict[str, str] = {}
    for role, column in columns.items():
        if role not in known:
            raise LawError(f"there is no role {role!r}: {did_you_mean(role, known)}")
        if column not in source:
            raise LawError(f"there is no column {column!r}: {did_you_mean(column, source)}")
        roles[role] = column
    for role, names in ALIASES.items():
        if role not in roles:
            name = next((n for n in names if n in source and n not in roles.values()), None)
            if name is not None:
                roles[role] = name
    return roles


def _need(roles: Mapping[str, str], role: str, source: Mapping[str, Any]) -> str:
    if role not in roles:
        raise LawError(f"which column is {role}? Say --column {role}=COLUMN. It has: {', '.join(source)}.")
    return roles[role]


def _sizes(
    roles: Mapping[str, str], source: Mapping[str, Any], bits: Any, block: int | None
) -> tuple[Any, list[str]]:
    if "stored_bits" in roles:
        return numbers(source[roles["stored_bits"]], roles["stored_bits"]), []
    params = numbers(source[_need(roles, "params", source)], roles["params"])
    if block is not None:
        blocks = np.full_like(bits, float(block))
    elif "block" in roles:
        blocks = numbers(source[roles["block"]], roles["block"])
    else:
        return params * bits, ["Stored bits are parameters times k: no block size is known, so no scales."]
    packed = (bits < SCALE_BITS) & np.isfinite(blocks) & (blocks > 0)
    effective = bits + np.where(packed, (SCALE_BITS + bits) / np.where(packed, blocks, 1.0), 0.0)
    note = (
        "Stored bits are parameters times k + (16 + k) / block: a 16-bit scale and a zero point each block."
    )
    return params * effective, [note]


def _higher_is_better(response: str, better: str | None, sizes: Any, values: Any) -> bool:
    if better is not None:
        return better == "higher"
    if response in RISING:
        return True
    if response in FALLING:
        return False
    ranks = np.argsort(np.argsort(sizes)), np.argsort(np.argsort(values))
    return bool(np.cov(*ranks)[0, 1] >= 0)


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < np.inf else None


def _wilson(values: Any, keep: Any, items: int) -> tuple[Any, Any]:
    """Ends of Wilson's 95% interval (1927, J. Am. Stat. Assoc. 22) of shares, or of percent above 1."""
    whole = 100.0 if np.nanmax(values[keep]) > 1.0 else 1.0
    if np.nanmin(values[keep]) < 0.0 or np.nanmax(values[keep]) > whole:
        raise LawError("a number of items gives intervals to accuracies: shares of 0 to 1, or percent.")
    share, z = values / whole, 1.959963984540054
    middle = (share + z * z / (2 * items)) / (1 + z * z / items)
    half = z / (1 + z * z / items) * np.sqrt(share * (1 - share) / items + z * z / (4 * items * items))
    return whole * (middle - half), whole * (middle + half)
