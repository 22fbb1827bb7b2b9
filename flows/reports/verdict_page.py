"""The page of a verdict, with what the store holds beside it. Imports no torch."""

from __future__ import annotations

from flows.manifest.model import Rung
from flows.planning.jobs import Job
from flows.store import Record, Store
from gates.evidence import Evidence
from gates.pages.page import Attempt, Reference, render
from gates.verdict import Verdict


def evidence_of(store: Store, key: str) -> Evidence:
    """Return what an `evidence` step measured."""
    return Evidence.model_validate_json((store.out("evidence", key) / "evidence.json").read_bytes())


def verdict_page(job: Job, rung: Rung, verdict: Verdict, evidence: str, store: Store) -> str:
    """Return the page of one verdict: this attempt, those before it, and the model's other artifacts for comparison."""
    earlier = []
    for tried in job.target.rungs:
        if tried.name == rung.name:
            break
        if record := store.record("verdict", job.verdict(tried).key):
            earlier.append(Attempt(tried.name, evidence_of(store, record.result["evidence"]), verdict_in(record)))
    attempts = [*earlier, Attempt(rung.name, evidence_of(store, evidence), verdict)]
    return render(job.release, attempts, job.manifest.gates, _others(job, store))


def verdict_in(record: Record) -> Verdict:
    """Return what a `verdict` step decided, without what it is bound to."""
    return Verdict.model_validate(
        {name: value for name, value in record.result.items() if name not in ("evidence", "content")}
    )


def _others(job: Job, store: Store) -> list[Reference]:
    """What else was made of the model by plain rounding, as peers do by default, and scored against the same baseline."""
    own = {job.quantize(rung).key for rung in job.target.rungs}
    found: dict[str, Reference] = {}
    for record in store.records("verdict"):
        if record.inputs["baseline"] != job.baseline.key or record.inputs["artifact"] in own:
            continue
        artifact = store.record("quantize", record.inputs["artifact"])
        gates = {gate["name"]: gate for gate in record.result["gates"]}
        kld, size = gates.get("divergence"), gates.get("size")
        if artifact is None or artifact.inputs["calibration"] or not kld or not size or kld["value"] is None:
            continue
        recipe = artifact.inputs["recipe"]
        name = (
            f"{recipe['dtype']} {'sym' if recipe['symmetric'] else 'asym'} g{recipe['group_size']} ({recipe['engine']})"
        )
        found[name] = Reference(name, size["value"], kld["value"])
    return list(found.values())
