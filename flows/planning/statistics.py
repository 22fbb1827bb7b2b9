"""Statistics of activations that an engine collects with the first artifact of a model and a text, for all that come after."""

from __future__ import annotations

from catalog.tasks import TASKS
from flows.manifest.model import Rung
from flows.planning.jobs import Job
from flows.planning.kinds import STATISTICS
from flows.planning.tool_versions import versions
from flows.step import Step
from quantizers.request import Statistics


def statistics_of(job: Job, rung: Rung) -> Step[Statistics] | None:
    """Return the step of what the recipe of a rung goes by; None of one that shares nothing with others.

    It is done by whatever makes an artifact and finds none, and decides no bit, so that it is in no artifact's key.
    """
    if not rung.recipe.shares_statistics:
        return None
    assert job.calibration
    reader = job.original.task if TASKS[job.original.task].reads else None
    return STATISTICS.step(
        {
            "model": job.original.identity,
            "task": job.original.task,
            "calibration": {"texts": job.calibration.key, **job.manifest.calibration.reading},
            "tools": versions("statistics", format=rung.recipe.format, engine=rung.recipe.engine, task=reader),
        }
    )
