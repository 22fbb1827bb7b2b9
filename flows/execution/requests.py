"""What each door is asked, from a job and what earlier steps left in the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flows.manifest.model import Rung, Search, Texts
from flows.planning.jobs import Job, Step
from flows.planning.sources import Original, task_file
from flows.planning.tool_versions import installed
from flows.reports.verdict_page import verdict_in
from flows.store import Record, Store


def documents(store: Store, step: Step) -> Path:
    """Return where the documents of a `texts` step are."""
    return store.out(step.kind, step.key) / "documents.jsonl"


def fetch(original: Original, store: Store) -> dict[str, Any]:
    """Ask for a snapshot of a Hub model."""
    return {
        "what": "model",
        "source": original.id,
        "revision": original.revision,
        "cache": store.home / "sources",
    }


def texts(step: Step, source: Texts, store: Store) -> dict[str, Any]:
    """Ask for documents."""
    where = (
        {"files": source.files}
        if source.files
        else {
            "source": source.source,
            "revision": step.inputs["source"]["revision"],
            "name": source.name,
            "split": source.split,
        }
    )
    return {"what": "texts", "column": source.column, "cache": store.home / "sources", **where}


def _evaluation(job: Job, store: Store, limit: int | None) -> dict[str, Any]:
    return {
        "documents": documents(store, job.evaluation),
        "tokens": job.manifest.evaluation.tokens,
        "max_documents": limit,
    }


def _tasks(job: Job) -> list[dict[str, Any]]:
    rows = []
    for name, task in sorted(job.manifest.gates.tasks.items()):
        configuration = task.configuration().model_dump(mode="json")
        if task.file is not None:
            configuration["file"] = str(task_file(job.manifest, task.file))
        rows.append({"name": name, **configuration})
    return rows


def tasks_from_hub(job: Job) -> bool:
    """Whether scoring reads data sets of the Hub."""
    return any(task.file is None for task in job.manifest.gates.tasks.values())


def baseline(job: Job, store: Store) -> dict[str, Any]:
    """Ask for the original's scores."""
    return {
        "step": "baseline",
        "model": job.original.directory,
        "evaluation": _evaluation(job, store, job.manifest.evaluation.documents),
        "tasks": _tasks(job),
    }


def _calibration(job: Job, store: Store) -> dict[str, Any] | None:
    if job.calibration is None:
        return None
    return {"documents": documents(store, job.calibration), **job.manifest.calibration.reading}


def quantize(work: list[tuple[Job, Rung]], store: Store) -> dict[str, Any]:
    """Ask for artifacts, named by their place in `work`."""
    job = next((job for job, rung in work if rung.recipe.calibrated), work[0][0])
    reads = any(rung.recipe.calibrated for _, rung in work)
    return {
        "model": job.original.directory,
        "targets": {str(n): rung.recipe.model_dump(mode="json") for n, (_, rung) in enumerate(work)},
        "calibration": _calibration(job, store) if reads else None,
        "memory_bytes": job.manifest.memory_bytes,
    }


def sensitivity(job: Job, search: Search, store: Store) -> dict[str, Any]:
    """Ask what each dtype does to each group of linears."""
    return {
        "model": job.original.directory,
        "recipe": search.base.model_dump(mode="json"),
        "dtypes": sorted(search.auto.dtypes),
        "calibration": _calibration(job, store),
        "memory_bytes": job.manifest.memory_bytes,
    }


def evidence(job: Job, rung: Rung, limit: int, artifact: Record, before: Record | None, store: Store) -> dict[str, Any]:
    """Ask for the artifact's scores against the original's, on its first `limit` documents."""
    return {
        "step": "evidence",
        "model": job.original.directory,
        "artifact": store.out(artifact.step, artifact.key),
        "format": rung.recipe.format,
        "expected_bytes": artifact.result["expected_bytes"],
        "baseline": store.out("baseline", job.baseline.key),
        "evaluation": _evaluation(job, store, limit),
        "previous": before and store.out(before.step, before.key),
        "tasks": _tasks(job),
        "speed": job.manifest.gates.speed is not None,
        "device": job.target.device,
    }


def publish(job: Job, rung: Rung, store: Store) -> dict[str, Any]:
    """Ask for the release of an artifact that passed."""
    artifact = store.record("quantize", job.quantize(rung).key)
    verdict = store.record("verdict", job.verdict(rung).key)
    assert artifact and verdict
    found = json.loads((store.out("evidence", verdict.result["evidence"]) / "evidence.json").read_bytes())
    calibration = {"where": job.manifest.calibration.where, **(artifact.inputs["calibration"] or {})}
    evaluation = {"where": job.manifest.evaluation.where, **job.baseline.inputs["evaluation"]}
    original = job.original
    source = {
        "name": original.name,
        "id": original.id,
        "revision": original.revision,
        "directory": original.directory,
    }
    subject = {
        "name": job.release,
        "target": job.target.name,
        "artifact": store.out(artifact.step, artifact.key),
        "files": {name: entry.sha256 for name, entry in artifact.files.items()},
        "source": source,
        "format": rung.recipe.format,
        "task": job.manifest.model.task,
        "recipe": rung.recipe.model_dump(mode="json"),
        "calibration": calibration if rung.recipe.calibrated else None,
        "evaluation": evaluation,
        "evidence": found,
        "verdict": verdict_in(verdict).model_dump(mode="json"),
        "tools": artifact.inputs["tools"] | {"quantmill": installed("quantmill")},
        "key": verdict.key,
    }
    publish = job.manifest.publish
    return {"subject": subject, "to": publish.to, "home": store.home, "private": publish.private}
