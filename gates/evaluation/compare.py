"""The `evidence` step: load one artifact as its user will, and hold it against the stored original."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from catalog import architectures, libraries
from catalog.formats import LOADABLE
from catalog.progress import report
from catalog.reading import rows as reading
from catalog.tasks import TASKS
from gates.checks import behaviour, files, names, stock, weights
from gates.clients.client import Loaded, client_of, first_blocks, load
from gates.errors import GateError
from gates.evaluation import baseline, drafting, readers, speed, tasks
from gates.evaluation.findings import Findings
from gates.evaluation.lengths import STOCK_ROWS, STOCK_TOKENS
from gates.evaluation.readers import Readers
from gates.evidence import Check, Evidence, Sizes
from gates.judging.summary import summarize
from gates.kinds.acceptance import NAME as ACCEPTANCE
from gates.measurements import measurement
from gates.request import EvidenceRequest
from gates.results import Baseline, EvidenceResult
from gates.statistics.sequential import interim_looks
from gates.tasks import measured
from gates.tasks.contract import Asked, NotFinite, Stored

NOT_REACHED = "not reached"
"""Detail of a check that an earlier one made meaningless."""


def run(request: EvidenceRequest, out: Path) -> Evidence:
    """Score, check and write `evidence.json`, then `result.json`.

    Whatever is wrong with the artifact is evidence against it, not an error: the check that met it writes it down.
    """
    original = baseline.read_result(request.baseline)
    previous = _previous(request)
    limit = request.evaluation.max_documents or original.documents
    limit = min(limit, original.documents)
    if previous and limit <= previous.looks[-1]:
        raise GateError(
            f"{request.previous}: already holds {previous.looks[-1]} documents; ask for more than that, "
            f"up to the {original.documents} of the baseline."
        )
    # Looks at fewer documents are counted whether or not they were taken: a caller that forgets one gains nothing.
    earlier = {look for look in interim_looks(original.documents) if look < limit} | set(
        previous.looks if previous else ()
    )
    taken = (*sorted(earlier), limit)
    sizes = _sizes(request, original)
    findings = Findings()
    findings.add(files.size(sizes))
    format_, damage = LOADABLE[request.format], client_of(request.format).damage
    if findings.add(files.files(request.artifact, format_, damage, TASKS[request.task].tokenizes)):
        _examine(request, original, previous, limit, findings)
    # By now what was loaded for scoring is gone.
    if request.draft and not previous and findings.documents:
        with findings.attempt("draft"):
            findings.measured[ACCEPTANCE] = drafting.measure(request)
    documents = (*(previous.documents if previous else ()), *findings.documents)
    chat = (*(previous.chat if previous else ()), *findings.chat)
    sanity = TASKS[request.task].sanity
    reached = {name: Check(name=name, passed=False, detail=NOT_REACHED) for name in sanity} | findings.checks
    evidence = Evidence(
        task=request.task,
        format=request.format,
        loader=_loader(request),
        row_tokens=original.row_tokens,
        available=original.documents,
        looks=taken,
        documents=documents,
        chat=chat,
        summary=summarize(documents, request.task),
        chat_summary=summarize(chat, request.task),
        size=sizes,
        checks=tuple(reached.values()),
        samples=findings.samples,
        tasks=previous.tasks if previous else findings.tasks,
        measured=previous.measured if previous else findings.measured,
        speed=previous.speed if previous else findings.speed,
        activations=findings.activations or (previous.activations if previous else None),
        activations_original=baseline.read_activations(request.baseline),
        runtime=findings.runtime,
        tools=libraries.versions((*libraries.scoring(request.format, request.task), *_further(request))),
    )
    (out / "evidence.json").write_text(evidence.model_dump_json(indent=1) + "\n")
    result = EvidenceResult(
        documents=len(documents),
        available=original.documents,
        failed_checks=tuple(check.name for check in evidence.checks if not check.passed),
    )
    (out / "result.json").write_text(result.model_dump_json(indent=1) + "\n")
    return evidence


def _further(request: EvidenceRequest) -> tuple[str, ...]:
    """Libraries that decide what is measured with a draft."""
    return ("openvino-genai",) if request.draft else ()


def _previous(request: EvidenceRequest) -> Evidence | None:
    if request.previous is None:
        return None
    path = request.previous / "evidence.json"
    if not path.is_file():
        raise GateError(
            f"{request.previous}: no evidence.json, so there is nothing to carry over. Run the first look first."
        )
    return Evidence.model_validate(json.loads(path.read_text()))


def _sizes(request: EvidenceRequest, original: Baseline) -> Sizes:
    artifact_bytes = baseline.weights_bytes(request.artifact, request.format)
    return Sizes(
        original_bytes=original.weights_bytes,
        artifact_bytes=artifact_bytes,
        expected_bytes=request.expected_bytes,
        ratio=artifact_bytes / original.weights_bytes,
    )


def _loader(request: EvidenceRequest) -> str:
    """Full name of the stock class that loads the artifact."""
    return LOADABLE[request.format].loader(request.task, architectures.named(request.artifact))


def _examine(
    request: EvidenceRequest, original: Baseline, previous: Evidence | None, limit: int, findings: Findings
) -> None:
    """Load and check in the order in which later checks need the earlier ones; stop at what makes them meaningless."""
    report("artifact: loading", 0, 1)
    with findings.attempt("config"):
        findings.add(names.config(request.model, request.artifact))
    beside = _beside(request, original, limit, findings)
    if request.streamed:
        # Before the other is loaded, which would be held beside it.
        with findings.attempt(stock.NAME):
            findings.add(_stock(request, request.streamed.stock_blocks, previous))
    loaded = None
    with findings.attempt("loads"):
        hold = request.streamed.hold_bytes if request.streamed else None
        loaded = load(request.artifact, request.format, request.runtime, request.task, hold)
        detail = loaded.faults[0] if loaded.faults else f"{_loader(request)} reports nothing amiss"
        findings.add(Check(name="loads", passed=not loaded.faults, detail=detail))
        findings.runtime = loaded.runtime
    if loaded is None:
        return
    with findings.attempt("weights"):
        findings.add(_known(previous, "weights") or weights.weights(loaded, request.model))
    report("artifact: loading", 1, 1)
    if beside is None:
        return
    task = measured(request.task)
    asked = Asked(request.model, beside.tokenizer, original.row_tokens, request.baseline, beside.processor)
    if not previous:
        task.foresee(loaded, asked)
    with findings.attempt("finite"):
        with loaded.watched(request.overflow) as watch:
            _score(request, original, loaded, range(previous.looks[-1] if previous else 0, limit), findings)
        if watch:
            findings.activations = watch.told(previous.activations if previous else None)
    if previous:
        # Whatever is asked besides documents was asked at the first look, of the same bytes.
        findings.checks = {check.name: check for check in previous.checks} | findings.checks
        findings.samples = previous.samples
        return
    task.examine(loaded, asked, findings)
    for name, settings in request.measured.items():
        with findings.attempt(name):
            findings.measured[name] = measurement(name).artifact(loaded, asked, settings, findings)
    if request.speed:
        with findings.attempt("speed"):
            findings.speed = speed.measure(
                request.model, request.artifact, request.format, request.runtime, request.task, task.timed_row(asked)
            )
    if request.tasks:
        with findings.attempt("tasks"):
            _put_tasks(request, loaded, beside.tokenizer, findings)


def _known(previous: Evidence | None, name: str) -> Check | None:
    """Return what an earlier look at the same bytes found; None: there was none, or it did not come so far."""
    checks = previous.checks if previous else ()
    return next((check for check in checks if check.name == name and check.detail != NOT_REACHED), None)


def _stock(request: EvidenceRequest, blocks: int, previous: Evidence | None) -> Check:
    """Hold what is streamed against the stock loader, with as many blocks as that can hold, at the first look."""
    if known := _known(previous, stock.NAME):
        return known
    stored = Stored(request.baseline / "documents")
    rows = [stored.read(index)["ids"].long()[:STOCK_TOKENS] for index in range(min(STOCK_ROWS, len(stored)))]
    said = first_blocks(request.artifact, request.format, request.runtime, request.task, blocks, rows)
    return stock.agrees(said, _loader(request))


def _put_tasks(request: EvidenceRequest, loaded: Loaded, tokenizer: Any, findings: Findings) -> None:
    original = tasks.ANSWERS.validate_json((request.baseline / "tasks.json").read_bytes())
    findings.tasks = tasks.compare(original, tasks.answer(loaded, tokenizer, request.tasks, "artifact"))
    detail = f"answered {len(findings.tasks)} tasks on the same items as the original"
    findings.add(Check(name="tasks", passed=True, detail=detail))


def _beside(request: EvidenceRequest, original: Baseline, limit: int, findings: Findings) -> Readers | None:
    """Check all that lies beside the weights; None when what the artifact is given would not be what the original is."""
    task, own = TASKS[request.task], None
    with findings.attempt("tokenizer" if task.tokenizes else "processor"):
        own, theirs = (readers.load(path, request.task) for path in (request.artifact, request.model))
        if task.processes and not findings.add(names.processor(theirs.processor, own.processor)):
            return None
    if own is None or not task.tokenizes:
        return own
    return own if _same_tokens(request, original, limit, findings, (own.tokenizer, theirs.tokenizer)) else None


def _same_tokens(
    request: EvidenceRequest, original: Baseline, limit: int, findings: Findings, pair: tuple[Any, Any]
) -> bool:
    """Check tokenizer, special tokens and chat template, the artifact's and the original's; False when tokens differ."""
    own, theirs = pair
    with findings.attempt("tokenizer"):
        findings.add(names.special_tokens(theirs, own, request.model, request.artifact))
        if "chat-template" in TASKS[request.task].sanity:
            with findings.attempt("chat-template"):
                findings.add(names.chat_template(theirs, own))
        rows = reading.read(request.evaluation.documents, TASKS[request.task].columns)[:limit]
        documents = [text for row in rows for text in reading.strings(row)]
        for name, check in client_of(request.format).TOKENIZERS.items():
            with findings.attempt(name):
                findings.add(check(request.artifact, theirs, documents))
        return findings.add(names.tokenizer(theirs, own, original.vocabulary, documents))
    return False


def _score(request: EvidenceRequest, original: Baseline, loaded: Loaded, indices: range, findings: Findings) -> None:
    """Score the rows at `indices` and, for a model with a chat template, the conversations made of them."""
    infinite, task = None, measured(request.task)
    chat = range(indices.start, min(indices.stop, original.chat))
    views = (("documents", findings.documents, indices), ("chat", findings.chat, chat))
    for view, _, chosen in views if not loaded.is_whole else ():
        stored = Stored(request.baseline / view)
        task.announce(loaded, [stored.read(index) for index in chosen])
    for view, scored, chosen in views:
        word = baseline.WORDS[view]
        stored = Stored(request.baseline / view)
        compared = task.compare(loaded, stored, chosen)
        for index in chosen if infinite is None else ():
            try:
                scored.append(next(compared).model_copy(update={"domain": stored.domain(index)}))
            except NotFinite:
                infinite = f"{word} {index}"
                break
            report(f"artifact: scoring {word}s", index + 1 - chosen.start, len(chosen))
    findings.add(behaviour.finite(infinite))
