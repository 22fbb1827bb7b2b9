"""What each program is asked, from a job and what earlier steps left in the store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalog.formats import FORMATS
from catalog.libraries import installed
from flows.execution import fetch as fetching
from flows.manifest.model import Rung
from flows.manifest.texts import Texts
from flows.planning.artifact_memory import streaming
from flows.planning.cost import weights_bytes
from flows.planning.jobs import Job
from flows.planning.kinds import EVIDENCE, Artifact, Documents, Judged
from flows.planning.original_memory import held
from flows.planning.sources import Original, beside
from flows.step import Entry, Step
from flows.store import Record, Store
from gates.request import BaselineRequest, Draft, EvidenceRequest, Streamed, TaskRequest
from gates.request import Evaluation as Rows
from gates.results import EvidenceResult
from gates.statistics.sequential import FIRST
from publishers import request as publishing
from quantizers import request as quantizing


def documents(store: Store, step: Entry[Documents]) -> Path:
    """Return where the documents of a `texts` step are."""
    return store.out(step) / "documents.jsonl"


def fetch(original: Original, store: Store) -> fetching.Request:
    """Ask for a snapshot of a Hub model."""
    return fetching.Request(what="model", source=original.id, revision=original.revision, cache=store.home / "sources")


def texts(step: Step[Documents], source: Texts, task: str, store: Store) -> fetching.Request:
    """Ask for documents, or for rows of a task."""
    cache, columns = store.home / "sources", step.inputs["source"].get("columns")
    if source.files:
        return fetching.Request(
            what="texts", files=source.files, column=source.column, columns=columns, task=task, cache=cache
        )
    return fetching.Request(
        what="texts",
        source=source.source,
        revision=step.inputs["source"]["revision"],
        name=source.name,
        split=source.split,
        column=source.column,
        columns=columns,
        task=task,
        cache=cache,
    )


def _rows(job: Job, store: Store, limit: int | None) -> Rows:
    tokens = job.manifest.evaluation.tokens
    return Rows(documents=documents(store, job.evaluation), tokens=tokens, max_documents=limit)


def _tasks(job: Job) -> tuple[TaskRequest, ...]:
    rows = []
    for name, task in sorted(job.manifest.gates.tasks.items()):
        file = None if task.file is None else str(beside(job.manifest, task.file))
        rows.append(TaskRequest(name=name, **{**dict(task.configuration()), "file": file}))
    return tuple(rows)


def _measured(job: Job) -> dict[str, dict[str, Any]]:
    """Settings of what is measured for single gates."""
    settings = {}
    for name, gate in job.manifest.gates.measured().items():
        said = gate.configuration()
        settings[name] = said | {each: str(beside(job.manifest, said[each])) for each in gate.directories}
    return settings


def tasks_from_hub(job: Job) -> bool:
    """Whether scoring reads data sets of the Hub."""
    return any(task.file is None for task in job.manifest.gates.tasks.values())


def baseline(job: Job, store: Store) -> BaselineRequest:
    """Ask for the original's scores."""
    return BaselineRequest(
        model=_model(job, store),
        task=job.original.task,
        evaluation=_rows(job, store, job.manifest.evaluation.documents),
        tasks=_tasks(job),
        measured=_measured(job),
        hold_bytes=held(job).hold_bytes,
    )


def _model(job: Job, store: Store) -> Path:
    """Where the original's files are, fetched just now or before."""
    return job.original.directory or store.result(job.original.fetch).directory


def _calibration(job: Job, store: Store) -> quantizing.Calibration:
    assert job.calibration is not None
    return quantizing.Calibration(documents=documents(store, job.calibration), **job.manifest.calibration.reading)


def quantize(
    work: Sequence[tuple[Job, Rung]], store: Store, statistics: Entry[quantizing.Statistics] | None = None
) -> quantizing.Request:
    """Ask for artifacts, named by their place in `work`; `statistics` are there and have been checked."""
    reader = next((job for job, rung in work if rung.recipe.calibrated), None)
    job = reader or work[0][0]
    return quantizing.Request(
        model=_model(job, store),
        task=job.original.task,
        targets={str(number): rung.recipe for number, (_, rung) in enumerate(work)},
        calibration=_calibration(reader, store) if reader else None,
        memory_bytes=job.manifest.memory_bytes,
        statistics=statistics and store.out(statistics),
    )


def sensitivity(job: Job, store: Store) -> quantizing.SensitivityRequest:
    """Ask what each dtype does to each group of linears, of a target that searches."""
    search = job.target.search
    assert search
    return quantizing.SensitivityRequest(
        model=_model(job, store),
        task=job.original.task,
        recipe=search.base,
        dtypes=tuple(sorted(search.auto.dtypes)),
        calibration=_calibration(job, store),
        memory_bytes=job.manifest.memory_bytes,
    )


def evidence(
    job: Job,
    rung: Rung,
    limit: int,
    artifact: Record[Artifact],
    before: Entry[EvidenceResult] | None,
    store: Store,
) -> EvidenceRequest:
    """Ask for the artifact's scores against the original's, on its first `limit` documents."""
    return EvidenceRequest(
        model=_model(job, store),
        task=job.original.task,
        artifact=store.out(job.quantize(rung)),
        format=rung.recipe.format,
        expected_bytes=artifact.result.expected_bytes,
        baseline=store.out(job.baseline),
        evaluation=_rows(job, store, limit),
        previous=before and store.out(before),
        tasks=_tasks(job),
        measured=_measured(job),
        speed=job.manifest.gates.speed is not None,
        overflow=job.manifest.gates.overflow is not None,
        runtime=job.runtime(rung),
        streamed=_streamed(job, rung) if job.streams(rung) else None,
        draft=_draft(job),
    )


def _streamed(job: Job, rung: Rung) -> Streamed:
    how = streaming(job, rung, weights_bytes(job.original, rung))
    return Streamed(hold_bytes=how.hold_bytes, stock_blocks=how.stock_blocks)


def _draft(job: Job) -> Draft | None:
    gate = job.manifest.gates.acceptance
    if job.draft is None or gate is None:
        return None
    assert job.draft.directory, "a job that waits for its draft is not judged"
    return Draft(directory=job.draft.directory, candidates=gate.candidates)


def control(job: Job, rung: Rung, artifact: Record[Artifact], store: Store) -> EvidenceRequest:
    """Ask for the scores of a spoiled copy of the artifact."""
    return evidence(job, rung, FIRST, artifact, None, store).model_copy(update={"control": True, "draft": None})


def _guesses(job: Job) -> publishing.Draft | None:
    gate = job.manifest.gates.acceptance
    if job.draft is None or job.draft.commit is None or gate is None:
        return None
    written = job.target.draft or ""
    return publishing.Draft(name=job.draft.name, commit=job.draft.commit, written=written, candidates=gate.candidates)


def publish(
    job: Job,
    rung: Rung,
    artifact: Record[Artifact],
    verdict: Record[Judged],
    store: Store,
    equal: publishing.Equal | None = None,
) -> publishing.Request:
    """Ask for the release of an artifact that passed; `equal` is what to take instead of an archived one."""
    original, said, format_ = job.original, job.manifest, FORMATS[rung.recipe.format]
    calibration = {"where": said.calibration.where, **(artifact.inputs["calibration"] or {})}
    subject = publishing.Subject(
        name=job.release,
        target=job.target.name,
        artifact=store.out(job.quantize(rung)),
        files={name: entry.sha256 for name, entry in artifact.files.items()},
        source=publishing.Source(
            name=original.name, id=original.id, revision=original.revision, directory=_model(job, store)
        ),
        format=rung.recipe.format,
        task=said.model.task,
        runtime=job.runtime(rung),
        draft=_guesses(job),
        recipe=rung.recipe.model_dump(mode="json"),
        calibration=calibration if rung.recipe.calibrated else None,
        evaluation={"where": said.evaluation.where, **job.baseline.inputs["evaluation"]},
        evidence=json.loads((store.out(EVIDENCE.at(verdict.result.evidence)) / "evidence.json").read_bytes()),
        verdict=verdict.result.verdict.model_dump(mode="json"),
        tools=artifact.inputs["tools"] | {"quantmill": installed("quantmill")},
        key=verdict.key,
        equal=equal,
        instructions=artifact.result.compute.partition(", ")[2] if rung.recipe.dtype in format_.bound else None,
    )
    return publishing.Request(subject=subject, to=said.publish.to, home=store.home, private=said.publish.private)
