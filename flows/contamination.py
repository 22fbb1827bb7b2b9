"""Refuse a calibration text that shares content with the text the artifact is judged on."""

from __future__ import annotations

from flows.jobs import Step
from flows.requests import documents
from flows.steps import note
from flows.store import Store
from flows.tools import versions
from gates.contamination import overlap


def refuse_overlap(calibration: Step, evaluation: Step, store: Store) -> None:
    """Compare two sets of documents once for their content. Raises gates' GateError, naming what they share."""
    inputs = {"evaluation": evaluation.key, "calibration": calibration.key, "tools": versions("verdict")}
    step = Step("contamination", inputs)
    if not store.complete(step.kind, step.key):
        found = overlap(documents(store, calibration), documents(store, evaluation))
        note(store, step, found.model_dump())
