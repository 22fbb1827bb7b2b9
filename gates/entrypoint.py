"""The one door: a request in, files in a directory out."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from catalog.tasks import TASKS
from gates.control import planted
from gates.evidence import Evidence
from gates.request import BaselineRequest, EvidenceRequest
from gates.results import Baseline


def run(request: BaselineRequest | EvidenceRequest, out: Path) -> Baseline | Evidence:
    """Run the step that `request` names into the empty directory `out`; `out/result.json` is written last.

    Raises `GateError` for a request, text or original at fault. An artifact at fault is evidence, not an error.
    """
    if isinstance(request, EvidenceRequest) and request.control:
        with planted(request, out) as spoiled:
            return run(spoiled, out)
    module = "baseline" if isinstance(request, BaselineRequest) else "compare"
    ran: Baseline | Evidence = import_module(f"{TASKS[request.task].evidence}.{module}").run(request, out)
    return ran
