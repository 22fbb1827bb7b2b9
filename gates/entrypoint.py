"""The one door: a request in, files in a directory out."""

from __future__ import annotations

from pathlib import Path

from gates.adapters import scoring
from gates.adapters.evidence import AdapterEvidence
from gates.evaluation import baseline, compare
from gates.evidence import Evidence
from gates.request import AdapterRequest, Asked, BaselineRequest
from gates.results import Baseline
from gates.safeguards.control import planted


def run(request: Asked, out: Path) -> Baseline | Evidence | AdapterEvidence:
    """Run the step that `request` names into the empty directory `out`; `out/result.json` is written last.

    Raises `GateError` for a request, text or original at fault. An artifact at fault is evidence, not an error.
    """
    if isinstance(request, BaselineRequest):
        return baseline.run(request, out)
    if isinstance(request, AdapterRequest):
        return scoring.run(request, out)
    if request.control:
        with planted(request, out) as spoiled:
            return compare.run(spoiled, out)
    return compare.run(request, out)
