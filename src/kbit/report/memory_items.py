"""What the page's script needs to give the same advice as `kbit.advise` at any memory and context.

Memory is linear in the context, apart from layers that look back at most a window, and from what the core's
step needs for a panel of at most so many tokens. The coefficients are read
off `memory_of` itself, so that the page has no formula of its own to go wrong.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kbit.advise import candidates, memory_of
from kbit.advise.working import LONG_PANEL


def memory_items(
    rows: Iterable[Mapping[str, Any]], *, text: str | None, batch: int, kv_bits: float
) -> list[dict[str, Any]]:
    """One item for each candidate of `kbit.advise`, in its order.

    Returns:
        For each: what it is, its gain and interval, `weights_bytes`, `kv_bytes_per_token` (of all layers that
        never forget), `kv_window_bytes_per_token` and `window` (of the others), `working_bytes`,
        `working_bytes_per_token`, `working_panel_bytes_per_token` and `panel` (of a panel's tokens),
        `max_context`; memory is None where the store does not know it.
    """
    items = []
    for candidate in candidates(rows, text=text):
        row = candidate.row
        longest, window = row.get("max_context"), row.get("sliding_window")
        items.append(
            {
                "key": " · ".join(
                    p for p in (candidate.model, candidate.format, candidate.method) if p is not None
                ),
                "name": candidate.name,
                "model": candidate.model,
                "format": candidate.format,
                "method": candidate.method,
                "gain": candidate.gain,
                "ci95": None if candidate.ci95 is None else list(candidate.ci95),
                "max_context": longest if isinstance(longest, int | float) else None,
                "memory": _coefficients(
                    row, window=int(window) if window else None, batch=batch, kv_bits=kv_bits
                ),
            }
        )
    return items


def _coefficients(
    row: Mapping[str, Any], *, window: int | None, batch: int, kv_bits: float
) -> dict[str, float | None] | None:
    def at(context: int) -> Any:
        return memory_of(row, context=context, batch=batch, kv_bits=kv_bits)

    one, two = at(1), at(2)
    if one is None:
        return None
    past = max(window or 1, LONG_PANEL) + 1
    far, farther = at(past), at(past + 1)
    forever = farther.kv_bytes - far.kv_bytes
    near = two.working_bytes - one.working_bytes
    per_token = farther.working_bytes - far.working_bytes
    of_panel = near - per_token
    start = one.working_bytes - near
    panel = (far.working_bytes - start - past * per_token) / of_panel if of_panel else None
    return {
        "weights_bytes": one.weights_bytes,
        "kv_bytes_per_token": forever,
        "kv_window_bytes_per_token": one.kv_bytes - forever,
        "window": float(window) if window else None,
        "working_bytes": start,
        "working_bytes_per_token": per_token,
        "working_panel_bytes_per_token": of_panel,
        "panel": panel,
    }
