"""Downstream tasks and their metrics."""

from kbit.tasks.table import TASKS, find_task, listing

__all__ = ["TASKS", "find_task", "listing"]
