"""Plans of measurements: plan, run, resume.

Names load on first use: reading a study file does not import torch, planning one does.
"""

import importlib
from typing import TYPE_CHECKING, Any

# public name -> module that defines it
_LAZY = {
    "FORMATS": "kbit.study.exporting",
    "Measured": "kbit.study.task",
    "Outcome": "kbit.study.task",
    "Plan": "kbit.study.planned",
    "Progress": "kbit.study.planned",
    "RunResult": "kbit.study.running",
    "Study": "kbit.study.study",
    "Task": "kbit.study.task",
    "export": "kbit.study.exporting",
    "failures": "kbit.study.planned",
    "format_of": "kbit.study.exporting",
    "in_this_process": "kbit.study.running",
    "plan": "kbit.study.planning",
    "read_study": "kbit.study.study",
    "run": "kbit.study.running",
    "status": "kbit.study.planned",
    "to_csv": "kbit.study.exporting",
}

if TYPE_CHECKING:
    from kbit.study.exporting import FORMATS as FORMATS
    from kbit.study.exporting import export as export
    from kbit.study.exporting import format_of as format_of
    from kbit.study.exporting import to_csv as to_csv
    from kbit.study.planned import Plan as Plan
    from kbit.study.planned import Progress as Progress
    from kbit.study.planned import failures as failures
    from kbit.study.planned import status as status
    from kbit.study.planning import plan as plan
    from kbit.study.running import RunResult as RunResult
    from kbit.study.running import in_this_process as in_this_process
    from kbit.study.running import run as run
    from kbit.study.study import Study as Study
    from kbit.study.study import read_study as read_study
    from kbit.study.task import Measured as Measured
    from kbit.study.task import Outcome as Outcome
    from kbit.study.task import Task as Task

__all__ = [
    "FORMATS",
    "Measured",
    "Outcome",
    "Plan",
    "Progress",
    "RunResult",
    "Study",
    "Task",
    "export",
    "failures",
    "format_of",
    "in_this_process",
    "plan",
    "read_study",
    "run",
    "status",
    "to_csv",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'kbit.study' has no attribute {name!r}")
