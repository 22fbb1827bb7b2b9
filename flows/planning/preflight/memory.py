"""Whether a step can keep to the memory that a manifest gives it."""

from __future__ import annotations

from dataclasses import replace

from flows.manifest.model import Rung
from flows.planning.cost import quantizing
from flows.planning.jobs import Job
from flows.planning.preflight.finding import Finding

_ERROR = 1.5
"""Factor that a prediction may be off by."""


def check_memory(job: Job) -> None:
    """Raise ManifestError when a budget is below what the smallest step takes that spills all it can to disk."""
    budget = job.manifest.memory_bytes
    if budget is None:
        return
    for rung in job.target.rungs:
        needed = _least(job, rung)
        if needed > _ERROR * budget:
            raise Finding(job.manifest).error(
                ("memory",),
                f"is {budget / 1e6:.0f} MB, and target {job.target.name} takes about {needed / 1e6:.0f} MB however much of it "
                "is kept on disk; give that at least, or leave memory out",
            )


def _least(job: Job, rung: Rung) -> int:
    """Bytes of making an artifact whose hidden states are all on disk."""
    tight = replace(job, manifest=job.manifest.model_copy(update={"memory_bytes": 1}))
    return quantizing([(tight, rung)]).memory_bytes
