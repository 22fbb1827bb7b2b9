"""Refuse a calibration text that shares content with the text the artifact is judged on."""

from __future__ import annotations

from flows.execution.requests import documents
from flows.execution.steps import note
from flows.planning.jobs import Job
from flows.planning.kinds import Documents
from flows.step import Step
from flows.store import Store
from gates.contamination import overlap
from gates.errors import GateError


def refuse_overlap(job: Job, calibration: Step[Documents], store: Store) -> None:
    """Compare the two texts once for their content. Raises GateError, naming what they share."""
    step = job.contamination(calibration)
    if store.complete(step):
        return
    try:
        found = overlap(documents(store, calibration), documents(store, job.evaluation))
    except GateError as error:
        store.fail(step, error)
        raise
    note(store, step, found)
