"""The `adapter` step: score the base, then base and adapter on the same documents, each loaded as its user will."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from catalog import libraries
from catalog.formats import ADAPTER
from catalog.progress import report
from catalog.reading import rows as reading
from catalog.runtime import RuntimeOptions
from catalog.tasks import TASKS
from gates.adapters.evidence import SANITY, AdapterEvidence
from gates.checks import behaviour, files
from gates.clients.client import Loaded, client_of, load
from gates.errors import GateError
from gates.evaluation import baseline, probes, readers
from gates.evaluation.findings import Findings
from gates.evidence import Check, Document, Sample
from gates.judging.summary import summarize
from gates.request import AdapterRequest, Evaluation
from gates.results import EvidenceResult
from gates.safeguards.control import spoil
from gates.statistics.sequential import FIRST
from gates.tasks import measured
from gates.tasks.contract import Asked, NotFinite, Row, Stored

TEXTS = ("held_out", "general")


def run(request: AdapterRequest, out: Path) -> AdapterEvidence:
    """Score, check and write `evidence.json`, then `result.json`.

    Whatever is wrong with the adapter is evidence against it, not an error.
    """
    scratch, findings = out / "scored", Findings()
    scored: dict[str, list[Document]] = {name: [] for name in (*TEXTS, "control")}
    try:
        prompts = _base(request, scratch)
        sound = findings.add(files.files(request.adapter, ADAPTER, client_of(ADAPTER.name).damage))
        if sound and findings.add(_named(request)):
            _adapter(request, scratch, prompts, findings, scored)
            _control(request, scratch, scored["control"])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _written(request, findings, {name: tuple(documents) for name, documents in scored.items()}, out)


def _base(request: AdapterRequest, scratch: Path) -> probes.Probes:
    """Keep what the base makes of both texts, and how it goes on with the beginnings of the task's."""
    task, tokenizer = measured(request.task), readers.load(request.base, request.task).tokenizer
    loaded = load(request.base, request.base_format, RuntimeOptions(), request.task)
    if loaded.faults:
        raise GateError(f"{request.base_name}: the base does not load cleanly: {loaded.faults[0]}. Pull it again.")
    kept: dict[str, list[Row]] = {}
    for name in TEXTS:
        asked: Evaluation = getattr(request, name)
        data = reading.read(asked.documents, TASKS[request.task].columns)[: asked.max_documents]
        rows = task.rows(data, Asked(request.base, tokenizer, asked.tokens, scratch))
        kept[name] = [row for row in rows if row is not None]
        if not kept[name]:
            raise GateError(f"{asked.documents}: {task.nothing}")
        stored = Stored(scratch / name)
        stored.directory.mkdir(parents=True)
        for index, row in enumerate(kept[name]):
            stored.write(index, task.describe(loaded, row, index))
            report(f"base: scoring {name.replace('_', '-')} documents", index + 1, len(kept[name]))
    return probes.ask(loaded, [row["ids"] for row in kept["held_out"]])


def _named(request: AdapterRequest) -> Check:
    """Whether the adapter's configuration names the base that it is judged on, at its commit."""
    config = json.loads((request.adapter / "adapter_config.json").read_bytes())
    said = f"{config.get('base_model_name_or_path')}@{config.get('revision')}"
    wanted = f"{request.base_name}@{request.base_revision}"
    return Check(name="base", passed=said == wanted, detail=f"adapter_config.json names {said}, made on {wanted}")


def _adapter(
    request: AdapterRequest,
    scratch: Path,
    prompts: probes.Probes,
    findings: Findings,
    scored: dict[str, list[Document]],
) -> None:
    loaded = None
    with findings.attempt("loads"):
        loaded = load(request.adapter, ADAPTER.name, RuntimeOptions(), request.task)
        detail = (loaded.faults or [f"{ADAPTER.loader(request.task)} reports nothing amiss"])[0]
        findings.add(Check(name="loads", passed=not loaded.faults, detail=detail))
        findings.runtime = loaded.runtime
    if loaded is None:
        return
    with findings.attempt("finite"):
        infinite = next(
            (word for name in TEXTS if (word := _score(request, loaded, scratch / name, scored[name]))), None
        )
        findings.add(behaviour.finite(infinite))
        findings.samples = _samples(loaded, prompts, readers.load(request.base, request.task).tokenizer)


def _score(
    request: AdapterRequest, loaded: Loaded, directory: Path, scored: list[Document], most: int | None = None
) -> str | None:
    """Compare with what the base made of some documents; return the one on which the adapter made no numbers, if any."""
    stored, word = Stored(directory), f"{directory.name.replace('_', '-')} document"
    chosen = range(min(most or len(stored), len(stored)))
    compared = measured(request.task).compare(loaded, stored, chosen)
    for index in chosen:
        try:
            scored.append(next(compared))
        except NotFinite:
            return f"{word} {index}"
        report(f"adapter: scoring {word}s", index + 1, len(chosen))
    return None


def _control(request: AdapterRequest, scratch: Path, scored: list[Document]) -> None:
    """Score a spoiled copy of the adapter on the first documents, on the way that the adapter itself went."""
    spoil(request.adapter, scratch / "spoiled", ADAPTER.name)
    loaded = load(scratch / "spoiled", ADAPTER.name, RuntimeOptions(), request.task)
    _score(request, loaded, scratch / "held_out", scored, FIRST)


def _samples(loaded: Loaded, asked: probes.Probes, tokenizer: Any) -> tuple[Sample, ...]:
    import torch

    own = probes.continuations(loaded, torch.tensor(asked.prompts), sample=False)
    return tuple(
        Sample(prompt=tokenizer.decode(prompt), original=tokenizer.decode(before), artifact=tokenizer.decode(after))
        for prompt, before, after in zip(asked.prompts, asked.greedy or (), own, strict=True)
    )


def _written(
    request: AdapterRequest, findings: Findings, scored: dict[str, tuple[Document, ...]], out: Path
) -> AdapterEvidence:
    reached = {name: Check(name=name, passed=False, detail="not reached") for name in SANITY} | findings.checks
    evidence = AdapterEvidence(
        task=request.task,
        loader=ADAPTER.loader(request.task),
        row_tokens=request.held_out.tokens,
        **scored,
        held_out_summary=summarize(scored["held_out"], request.task),
        general_summary=summarize(scored["general"], request.task),
        checks=tuple(reached.values()),
        samples=findings.samples,
        base_bytes=baseline.weights_bytes(request.base, request.base_format),
        adapter_bytes=baseline.weights_bytes(request.adapter, ADAPTER.name),
        runtime=findings.runtime,
        tools=libraries.versions(libraries.scoring(ADAPTER.name, request.task)),
    )
    (out / "evidence.json").write_text(evidence.model_dump_json(indent=1) + "\n")
    available = len(scored["held_out"]) + len(scored["general"])
    failed = tuple(check.name for check in evidence.checks if not check.passed)
    result = EvidenceResult(documents=available, available=available, failed_checks=failed)
    (out / "result.json").write_text(result.model_dump_json(indent=1) + "\n")
    return evidence
