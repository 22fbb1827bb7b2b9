"""How each task of `catalog.tasks` is measured: one file a task, named after it with underscores for dashes."""

from __future__ import annotations

from importlib import import_module

from gates.tasks.contract import MeasuredTask


def measured(task: str) -> MeasuredTask:
    """Return the code that measures a task."""
    measured: MeasuredTask = import_module(f"gates.tasks.{task.replace('-', '_')}").TASK
    return measured
