"""How commands speak: data on stdout, talk and progress on stderr."""

import json as _json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.console import Console

JsonFlag = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON object on stdout.")]


def emit(
    data: Mapping[str, Any], *, json: bool, text: Callable[["Console"], None], exit_code: int = 0
) -> int:
    """Print a result: `data` as one JSON object, or what `text` draws on a console.

    Args:
        data: what the command found; keys carry units. Not-a-number and infinities become null.
        json: whether `--json` was given.
        text: draws the result for a person; called only without `--json`.
        exit_code: 0 done, 1 failed, 3 partly done.

    Returns:
        `exit_code`, for the command to return.
    """
    if json:
        print(_json.dumps(plain(data), ensure_ascii=False, allow_nan=False))
    else:
        from rich.console import Console

        text(Console())
    return exit_code


def plain(value: Any) -> Any:
    """`value` in JSON's own types: dataclasses to objects, paths to text, NaN and infinities to null.

    >>> plain({"gain": float("nan"), "shape": (2, 3)})
    {'gain': None, 'shape': [2, 3]}
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bool | int | str) or value is None:
        return value
    if hasattr(value, "item"):  # a NumPy or torch scalar
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str) else str(value)


def talk(message: str) -> None:
    """Say something to the person at the terminal, on stderr."""
    print(message, file=sys.stderr, flush=True)
