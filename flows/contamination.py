"""Refuse a calibration text that shares content with the text the artifact is judged on."""

from __future__ import annotations


from flows.jobs import Job, Step
from flows.requests import documents
from flows.steps import note
from flows.store import Store
from flows.tools import versions


def refuse_overlap(job: Job, store: Store) -> None:
    """Compare the two texts once for their content. Raises gates' GateError, naming what they share."""
    from gates.contamination import overlap

    inputs = {"evaluation": job.evaluation.key, "calibration": job.calibration.key, "tools": versions("verdict")}
    step = Step("contamination", inputs)
    if not store.complete(step.kind, step.key):
        overlap(documents(store, job.calibration), documents(store, job.evaluation))
        note(store, step, {"overlap": False})
