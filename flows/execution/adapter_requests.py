"""What each program is asked about an adapter."""

from __future__ import annotations

import json
from pathlib import Path

from adapters.request import Base, Trained, TrainRequest
from catalog.formats import ADAPTER
from catalog.libraries import installed
from flows.execution.requests import documents
from flows.planning.adapter_jobs import AdapterJob
from flows.planning.kinds import ADAPTER_EVIDENCE, Judged
from flows.store import Record, Store
from gates.request import AdapterRequest, Evaluation
from publishers import request as publishing
from publishers.destinations.local import Local

WRITTEN = "adapter"
"""Where the training step's output holds the adapter."""


def train(job: AdapterJob, store: Store) -> TrainRequest:
    """Ask for an adapter."""
    assert job.base
    base = Base(directory=_base(job, store), name=job.base_release, revision=job.base)
    return TrainRequest(
        base=base,
        documents=documents(store, job.data),
        recipe=job.adapter.recipe,
        compute=job.compute,
        backend=job.backend,
    )


def _base(job: AdapterJob, store: Store) -> Path:
    """Where the local hub holds the base."""
    found = next(each for each in Local("", store.home).versions(job.base_release) if each.commit == job.base)
    assert found.directory
    return found.directory


def evidence(job: AdapterJob, store: Store) -> AdapterRequest:
    """Ask for the scores of base and adapter on both texts."""
    assert job.base
    read, general = job.adapter.held_out, job.manifest.evaluation
    return AdapterRequest(
        task=job.manifest.model.task,
        adapter=store.out(job.train) / WRITTEN,
        base=_base(job, store),
        base_format=job.on.rung.recipe.format,
        base_name=job.base_release,
        base_revision=job.base,
        home=store.home,
        held_out=Evaluation(documents=documents(store, job.held_out), tokens=read.tokens, max_documents=read.documents),
        general=Evaluation(
            documents=documents(store, job.general), tokens=general.tokens, max_documents=general.documents
        ),
    )


def publish(job: AdapterJob, trained: Record[Trained], verdict: Record[Judged], store: Store) -> publishing.Request:
    """Ask for the release of an adapter that passed."""
    assert job.base
    step = ADAPTER_EVIDENCE.at(verdict.result.evidence)
    files = {
        name.removeprefix(f"{WRITTEN}/"): file.sha256
        for name, file in trained.files.items()
        if name.startswith(f"{WRITTEN}/")
    }
    subject = publishing.Subject(
        name=job.release,
        target=job.name,
        artifact=store.out(job.train) / WRITTEN,
        files=files,
        source=publishing.Source(
            name=job.base_release, id=job.base_release, revision=job.base, directory=_base(job, store)
        ),
        format=ADAPTER.name,
        task=job.manifest.model.task,
        recipe=job.adapter.recipe.model_dump(mode="json") | {"compute": job.compute},
        calibration={"where": job.adapter.data.where, "texts": job.data.key, "rows": trained.result.rows},
        evaluation=job.evaluation,
        evidence=json.loads((store.out(step) / "evidence.json").read_bytes()),
        verdict=verdict.result.verdict.model_dump(mode="json"),
        tools=trained.inputs["tools"] | {"quantmill": installed("quantmill")},
        key=verdict.key,
    )
    said = job.manifest.publish
    return publishing.Request(subject=subject, to=said.to, home=store.home, private=said.private)
