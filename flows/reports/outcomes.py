"""How every job stands after a run, as rows for the terminal, for a program and for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from catalog.destinations import kind_of
from catalog.errors import Fault
from flows.errors import LeftOut
from flows.planning.adapter_plan import PlannedAdapter, adapter_verdict
from flows.planning.jobs import Job
from flows.planning.kinds import Artifact, Judged
from flows.planning.plan import Plan, scorings, verdict_of
from flows.planning.states import Planned
from flows.step import Step
from flows.store import Record, Store
from publishers.destinations.destination import open_destination
from publishers.errors import PublishError
from publishers.request import Place


def outcomes(plan: Plan, store: Store, failed: Sequence[Fault] = ()) -> list[dict[str, Any]]:
    """Return how every job of a plan stands: its state and why, its gates, sizes and costs, and where it was released.

    `failed` is what stopped work in the run before: the reason for jobs whose own steps left none in the store.
    """
    return [_outcome(planned, store, failed) for planned in plan.jobs] + [
        _adapted(planned, store, failed) for planned in plan.adapters
    ]


def _adapted(planned: PlannedAdapter, store: Store, failed: Sequence[Fault]) -> dict[str, Any]:
    job = planned.job
    row: dict[str, Any] = {
        "release": job.release,
        "target": job.name,
        "recipe": job.label,
        "state": planned.state,
        "why": planned.why,
    }
    steps: list[Step[Any]] = [*job.prepared, job.train, job.publish]
    trained, verdict, published = store.record(job.train), adapter_verdict(job, store), store.record(job.publish)
    if trained:
        steps.append(job.evidence(trained.content))
        row |= {"seconds": trained.seconds, "peak_memory_bytes": trained.peak_memory_bytes}
        row["losses"] = list(trained.result.losses)
    if not planned.fresh:
        row |= _stopped(job.release, steps, failed if planned.state == "stale" else (), store, job.base_release)
    if verdict:
        row |= _judged(verdict)
        row["why"] = verdict.result.sentence if planned.fresh else row["why"]
    if published and planned.state == "released":
        row["places"] = [place.model_dump(mode="json") for place in published.result.places]
        row["version"] = published.result.places[0].version
    return row


def _stopped(
    release: str, steps: Sequence[Step[Any]], failed: Sequence[Fault], store: Store, base: str | None = None
) -> dict[str, Any]:
    """What of a row says that it was left out, that a step failed, or what else kept it from being done.

    base: the release that an adapter is trained on.
    """
    left_out = {fault.release: fault for fault in failed if isinstance(fault, LeftOut)}
    if absent := left_out.get(release) or left_out.get(base or ""):
        whose = (
            "refused on this machine" if absent.release == release else f"its base {base} is refused on this machine"
        )
        return {"state": "left out", "why": f"{whose}: {absent.why}", "fault": absent.fault}
    if failure := next((failure for step in steps if (failure := store.failed(step))), None):
        return {"state": "step failed", "why": f"{failure.step} failed: {failure.message}", "fault": failure.fault}
    if stopped := [fault for fault in failed if fault not in left_out.values()]:
        own = next((fault for fault in stopped if str(fault).startswith(f"{release}:")), stopped[0])
        return {"state": "step failed", "why": str(own), "fault": own.fault}
    return {}


def _judged(verdict: Record[Judged]) -> dict[str, Any]:
    """What of a row says how it was judged."""
    return {
        "passed": verdict.result.passed,
        "risk": verdict.result.model_dump(include={"risk", "spent", "allowed"}),
        "gates": {gate.name: gate.model_dump(mode="json") for gate in verdict.result.gates},
    }


def _outcome(planned: Planned, store: Store, failed: Sequence[Fault]) -> dict[str, Any]:
    job, rung = planned.job, planned.rung
    verdict = verdict_of(job, rung, store)
    artifact = store.record(job.quantize(rung))
    published = store.record(job.publish(rung))
    row: dict[str, Any] = {
        "release": job.release,
        "target": job.target.name,
        "recipe": rung.name,
        "state": planned.state,
    }
    row["why"] = planned.why
    if not planned.fresh:
        steps = [*job.prepared, job.quantize(rung), *scorings(job, rung, store), job.publish(rung)]
        row |= _stopped(job.release, steps, failed if planned.state == "stale" else (), store)
    if verdict and planned.fresh:
        row["why"] = verdict.result.sentence
    if verdict:
        row |= _judged(verdict)
    if artifact:
        row["weights_bytes"] = artifact.result.weights_bytes
        row["seconds"] = artifact.seconds
        row["peak_memory_bytes"] = artifact.peak_memory_bytes
    publications = published.result.places if published and planned.state == "released" else ()
    if not publications and artifact and verdict and verdict.result.passed:
        publications = _placed(job, artifact, store)
    if publications:
        row["places"] = [publication.model_dump(mode="json") for publication in publications]
        row["version"] = publications[0].version
    return row


def _placed(job: Job, artifact: Record[Artifact], store: Store) -> tuple[Place, ...]:
    """Return where on this machine an artifact is whose publishing failed at a place that came later."""
    largest = max(artifact.files.values(), key=lambda file: file.size)
    publications = []
    for address in job.manifest.publish.to:
        if kind_of(address).network:
            continue
        try:
            destination = open_destination(address, store.home)
            release = destination.find(job.release)
            weights = {file.sha256 for file in destination.provenance(release).files.values()}
        except PublishError:
            continue
        if largest.sha256 in weights:
            publications.append(
                Place(to=address, version=release.version, commit=release.commit, url=str(release.directory))
            )
    return tuple(publications)


def figures(row: dict[str, Any]) -> dict[str, str]:
    """Return the figures that a job's gates judged, by the heading they stand below."""
    shown = (gate.get("shown") for gate in row.get("gates", {}).values())
    return {entry["column"]: entry["cell"] for entry in shown if entry and entry["column"]}


def headings(rows: list[dict[str, Any]]) -> list[str]:
    """Return the headings of all figures of some jobs, each once."""
    return list(dict.fromkeys(heading for row in rows for heading in figures(row)))
