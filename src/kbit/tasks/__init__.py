"""Downstream tasks and their metrics.

Names load on first use: what keeps answers in a file need not import what makes them.
"""

import importlib
from typing import TYPE_CHECKING, Any

_LAZY = ("TASKS", "find_task", "listing")

if TYPE_CHECKING:
    from kbit.tasks.table import TASKS as TASKS
    from kbit.tasks.table import find_task as find_task
    from kbit.tasks.table import listing as listing

__all__ = ["TASKS", "find_task", "listing"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("kbit.tasks.table"), name)
