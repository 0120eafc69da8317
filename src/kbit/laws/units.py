"""Units of columns: stated ones are brought to the law's, and rows that have none in common are refused."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kbit.errors import LawError, did_you_mean

COUNTS = {"thousands": 1e3, "millions": 1e6, "billions": 1e9, "trillions": 1e12}
# role -> unit -> how many of the law's own unit it is; the first is the law's own
UNITS: Mapping[str, Mapping[str, float]] = {
    "params": {"parameters": 1.0, **COUNTS},
    "tokens": {"tokens": 1.0, **COUNTS},
    "unique_tokens": {"tokens": 1.0, **COUNTS},
    "stored_bits": {
        "bits": 1.0, "bytes": 8.0, "kB": 8e3, "MB": 8e6, "GB": 8e9,
        "KiB": 8.0 * 2**10, "MiB": 8.0 * 2**20, "GiB": 8.0 * 2**30,
    },
    "loss": {"bits": 1.0, "nats": 1.0 / math.log(2.0)},
}  # fmt: skip
# columns that say what a number is of, and whether rows of different ones may still stand in one fit when the
# response is per byte of text
WHAT_OF = {
    "unit": False, "units": False, "size_unit": False, "metric": False,
    "tokenizer": True, "tokeniser": True, "context": True, "ctx": True, "text": True, "dataset": True,
}  # fmt: skip
PER_BYTE = ("gain", "bits_per_byte")


def factor(role: str, unit: str) -> float:
    """What values of a role in `unit` are multiplied by.

    Raises:
        LawError: the role has no units, or not this one.

    >>> factor("stored_bits", "KiB")
    8192.0
    """
    if role not in UNITS:
        raise LawError(f"{role} has no units to choose from; {', '.join(UNITS)} have.")
    if unit not in UNITS[role]:
        raise LawError(f"{role} cannot be in {unit!r}: {did_you_mean(unit, UNITS[role])}")
    return UNITS[role][unit]


def mixed(source: Mapping[str, NDArray[Any]], keep: NDArray[np.bool_], roles: Mapping[str, str]) -> list[str]:
    """What the kept rows mix that has no common unit, a sentence each.

    Args:
        source: the table's columns.
        keep: which rows are fitted.
        roles: role -> column; a column that is a role of its own may vary.
    """
    per_byte = any(role in PER_BYTE for role in roles)
    found = []
    for column, shared in WHAT_OF.items():
        if column not in source or column in roles.values() or (per_byte and shared):
            continue
        values = sorted({str(v) for v, kept in zip(source[column].tolist(), keep, strict=True) if kept})
        if len(values) > 1:
            some = ", ".join(values[:4]) + (", …" if len(values) > 4 else "")
            found.append(f"the rows mix values of {column!r} ({some}), which have no common unit")
    return found
