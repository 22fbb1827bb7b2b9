"""The page of a verdict, with what the store holds beside it. Imports no torch."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from pydantic import ValidationError

from flows.manifest.model import Rung
from flows.planning.jobs import Job
from flows.planning.kinds import EVIDENCE, QUANTIZE, VERDICT
from flows.step import Entry
from flows.store import Store
from gates.evidence import Evidence
from gates.pages.page import Attempt, Reference, render
from gates.results import EvidenceResult, Verdict
from gates.spec import harm_gate


def evidence_of(store: Store, step: Entry[EvidenceResult]) -> Evidence:
    """Return what an `evidence` step measured."""
    return Evidence.model_validate_json((store.out(step) / "evidence.json").read_bytes())


def verdict_page(job: Job, rung: Rung, verdict: Verdict, evidence: Entry[EvidenceResult], store: Store) -> str:
    """Return the page of one verdict: this attempt, those before it, and the model's other artifacts for comparison."""
    earlier = []
    for tried in job.target.rungs:
        if tried.name == rung.name:
            break
        if record := store.record(job.verdict(tried)):
            with suppress(OSError, ValidationError):  # lost or damaged: the page goes without
                scored = evidence_of(store, EVIDENCE.at(record.result.evidence))
                earlier.append(Attempt(tried.name, scored, record.result.verdict))
    attempts = [*earlier, Attempt(rung.name, evidence_of(store, evidence), verdict)]
    return render(job.release, attempts, job.manifest.gates, _others(job, store), datetime.now(UTC))


def _others(job: Job, store: Store) -> list[Reference]:
    """What else was made of the model by plain rounding, as peers do by default, and scored against the same baseline."""
    own = {job.quantize(rung).key for rung in job.target.rungs}
    references: dict[str, Reference] = {}
    for record in store.records(VERDICT):
        if record.inputs["baseline"] != job.baseline.key or record.inputs["artifact"] in own:
            continue
        artifact = store.record(QUANTIZE.at(record.inputs["artifact"]))
        gates = {gate.name: gate for gate in record.result.gates}
        harm, size = gates.get(harm_gate(job.original.task)), gates.get("size")
        if artifact is None or artifact.inputs["calibration"] or not harm or not size:
            continue
        if harm.value is None or size.value is None:
            continue
        recipe = artifact.result.recipe
        grid = "sym" if recipe.symmetric else "asym"
        name = f"{recipe.dtype} {grid} g{recipe.group_size} ({recipe.engine})"
        references[name] = Reference(name, size.value, harm.value)
    return list(references.values())
