"""Prefect's tasks, one a step: each looks its work up in the store, or does it in a child process.

Truth is in the store, not in Prefect, whose results are not kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from catalog.destinations import kind_of
from catalog.errors import FAULTS, Fault, InputError, StepFault
from catalog.foreign_errors import as_fault
from flows.execution import requests
from flows.execution.child import Network
from flows.execution.contamination import compared
from flows.execution.equals import equal_of
from flows.execution.steps import known, note, perform, perform_together
from flows.manifest.model import Rung
from flows.manifest.texts import Texts
from flows.planning.cost import looks
from flows.planning.error_budget import spend, spending
from flows.planning.jobs import Job
from flows.planning.kinds import BASELINE, CONTAMINATION, FETCH, SENSITIVITY, TEXTS, Documents, Fetched, Judged
from flows.planning.preflight.planned import check_calibration, check_fetched
from flows.planning.statistics import statistics_of
from flows.reports.history import note_outcome
from flows.reports.verdict_page import evidence_of, verdict_page
from flows.scrubbing import in_our_words
from flows.step import Entry, Kind, Step
from flows.store import DamagedEntry, Record, Store
from gates.judging.verdict import judge, slipped
from gates.results import Baseline, EvidenceResult, Overlap
from quantizers.request import SensitivityResult

log = logging.getLogger(__name__)
Log = logging.Logger | logging.LoggerAdapter
P = ParamSpec("P")
R = TypeVar("R")


class StepsFailed(StepFault):
    """Some steps did not finish; what could be done without them is done."""

    def __init__(self, failed: Sequence[Fault]) -> None:
        super().__init__("; ".join(map(str, failed)))
        self.failed = tuple(failed)
        """What stopped each piece of work, of its own kind."""


class ControlPassed(StepFault):
    """What is known to be bad passed its gates, so that passing says nothing."""


@contextmanager
def isolated(name: str, failed: list[Fault], log: Log = log) -> Iterator[None]:
    """Keep a piece of work that fails from stopping the others: log it, and add to `failed` what stopped it."""
    try:
        yield
    except StepsFailed as error:  # each was told where it failed
        failed += error.failed
    except Exception as error:  # whatever it is, it is told, fails the run at the end, and spares the others
        log.error("%s: %s", name, error)
        fault = as_fault(error)
        failed.append(FAULTS[fault.fault](f"{name}: {fault}", log=fault.log))


def local_step(name: str, run_name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a task of a step that needs nothing but this machine."""
    made = task(name=name, task_run_name=run_name, cache_policy=NO_CACHE)
    return lambda work: made(in_our_words(work))


def network_step(name: str, run_name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a task of a step that uses the network: tried again, unless what was asked is itself at fault."""

    def transient(task: Any, run: Any, state: Any) -> bool:
        error = state.result(raise_on_failure=False)
        return isinstance(error, Fault) and error.retried

    made = task(
        name=name,
        task_run_name=run_name,
        cache_policy=NO_CACHE,
        retries=2,
        retry_delay_seconds=[5, 30],
        retry_condition_fn=transient,
    )
    return lambda work: made(in_our_words(work))


@network_step("fetch", "fetch {job.original.name}")
def fetch(job: Job, step: Step[Fetched], store: Store) -> None:
    """Bring a Hub model's files here."""
    label, request = f"{job.original.name}: fetch", requests.fetch(job.original, store)
    record = perform(store, step, label, request, network="token")
    if not (record.result.directory / "config.json").exists():  # the cache was cleaned up since
        perform(store, step, label, request, network="token", anew=True)


@network_step("texts", "texts for {job.original.name}")
def texts(job: Job, step: Step[Documents], store: Store) -> None:
    """Bring evaluation or calibration documents here."""
    manifest = job.manifest
    said: tuple[str, Texts] = ("evaluation", manifest.evaluation)
    name, source = said if step == job.evaluation else ("calibration", manifest.calibration)
    network: Network = "none" if source.files else "token"
    request = requests.texts(step, source, manifest.model.task, store)
    perform(store, step, f"{job.original.name}: {name} text", request, network=network)


@local_step("contamination", "contamination for {job.original.name}")
def contamination(job: Job, step: Step[Overlap], store: Store) -> None:
    """Refuse a calibration text that is too short, or shares content with the evaluation text.

    Raises ManifestError, and GateError, which names what they share and where.
    """
    if store.complete(step):
        return
    try:
        check_calibration(job, store)
        shared = compared(job, store)
    except InputError as error:
        store.fail(step, error)
        raise
    note(store, step, shared)


@local_step("baseline", "baseline {job.original.name}")
def baseline(job: Job, step: Step[Baseline], store: Store) -> None:
    """Score the original, once for all its targets, if it is what the manifest takes it for."""
    try:
        check_fetched(job, store)
    except InputError as error:
        store.fail(step, error)
        raise
    network: Network = "read" if requests.tasks_from_hub(job) else "none"
    perform(store, step, f"{job.original.name}: baseline", requests.baseline(job, store), network=network)


@local_step("sensitivity", "sensitivity for {job.release}")
def sensitivity(job: Job, step: Step[SensitivityResult], store: Store) -> None:
    """Measure what each dtype does to each group of linears, once for all budgets."""
    perform(store, step, f"{job.target.name}: sensitivity", requests.sensitivity(job, store))


PREPARING: dict[Kind, Callable[[Job, Any, Store], None]] = {
    FETCH: fetch,
    TEXTS: texts,
    CONTAMINATION: contamination,
    BASELINE: baseline,
    SENSITIVITY: sensitivity,
}
"""The tasks that come before any recipe (`Job.prepared`), by what they do."""


@local_step("quantize", "quantize {label}")
def quantize(work: Sequence[tuple[Job, Rung]], label: str, store: Store) -> None:
    """Make the artifacts of several recipes of one model that share reading and calibration.

    When they fail together each is tried alone, so that only the one at fault is blamed.
    """
    unique = {job.quantize(rung).key: (job, rung) for job, rung in work}
    missing = [(job, rung) for job, rung in unique.values() if known(store, job.quantize(rung)) is None]
    try:
        _make(missing, label, store)
    except Fault:
        if len(missing) == 1:
            raise
        failed: list[Fault] = []
        for job, rung in missing:
            with isolated(f"{job.release} {rung.name}", failed):
                _make([(job, rung)], f"{label}: {rung.name} alone", store)
        if failed:
            raise StepsFailed(failed) from None


def _make(work: Sequence[tuple[Job, Rung]], label: str, store: Store) -> None:
    if work:
        steps = [job.quantize(rung) for job, rung in work]
        statistics = next((step for each in work if (step := statistics_of(*each))), None)
        there = statistics if statistics and known(store, statistics) else None
        perform_together(store, steps, label, requests.quantize(work, store, there), statistics)


@local_step("gate", "gate {job.release} {rung.name}")
def gate(job: Job, rung: Rung, store: Store) -> Record[Judged]:
    """Score one artifact on more and more documents until its gates are decided; return the verdict's record."""
    original = known(store, job.baseline)
    artifact = known(store, job.quantize(rung))
    if original is None or artifact is None:
        raise DamagedEntry(
            f"{job.release}: the artifact or the baseline was damaged in the store during this run; run again to make it anew"
        )
    network: Network = "read" if requests.tasks_from_hub(job) else "none"
    risk = spend(job, rung, artifact.content, store)
    before: Entry[EvidenceResult] | None = None
    for documents in looks(job, rung, original.result.documents):
        step = job.evidence(rung, documents, artifact.content)
        request = requests.evidence(job, rung, documents, artifact, before, store)
        label = f"{job.target.name}: gate {rung.name}, {documents} documents"
        perform(store, step, label, request, network=network)
        verdict = judge(evidence_of(store, step), job.manifest.gates, risk)
        if not verdict.more:
            break
        before = step
    allowed = 1 - job.manifest.gates.confidence
    spent = allowed * spending(job.release, store).share
    verdict = verdict.model_copy(update={"spent": spent, "allowed": allowed})
    page = verdict_page(job, rung, verdict, step, store)
    files = {"verdict.json": verdict.model_dump_json(indent=1), "verdict.html": page}
    result = Judged(**dict(verdict), evidence=step.key, content=artifact.content)
    record = note(store, job.verdict(rung), result, files)
    note_outcome(job, rung, record, store)
    return record


@local_step("control", "control of {job.release} {rung.name}")
def control(job: Job, rung: Rung, store: Store, *, anew: bool) -> None:
    """Put a spoiled copy of an artifact that passed through its gates. Raises ControlPassed when they let it pass, too.

    anew: whether to do so although it was done before, because the gates were used in this run.
    """
    artifact = known(store, job.quantize(rung))
    if artifact is None:
        raise DamagedEntry(
            f"{job.release}: the artifact was damaged in the store during this run; run again to make it anew"
        )
    step = job.control(rung, artifact.content)
    request = requests.control(job, rung, artifact, store)
    perform(store, step, f"{job.target.name}: control", request, anew=anew)
    if how := slipped(judge(evidence_of(store, step), job.manifest.gates)):
        raise ControlPassed(
            f"{job.release}: a copy of {rung.name} that was spoiled on purpose passed its gates ({how}), so they do not see what "
            "they judge, and nothing is released in this run. Either the tolerances allow anything, or the loader or the "
            f"scoring is broken: see {store.out(step) / 'evidence.json'}"
        )


@network_step("publish", "publish {job.release}")
def publish(job: Job, rung: Rung, verdict: Record[Judged], store: Store) -> None:
    """Release an artifact that passed."""
    step, artifact = job.publish(rung), store.record(job.quantize(rung))
    if artifact is None:
        raise DamagedEntry(f"{job.release}: the artifact was removed from the store; run again to make it anew")
    request = requests.publish(job, rung, artifact, verdict, store, equal_of(job, rung, store))
    network: Network = "token" if any(kind_of(to).token for to in job.manifest.publish.to) else "none"
    # The release that a record speaks of may be gone or damaged: publishing again is idempotent, and mends it.
    released = perform(store, step, f"{job.target.name}: publish", request, network=network, anew=True).result
    if any(publication.to == "local" for publication in released.places):
        blobs = store.home / "hub" / f"models--{job.release.replace('/', '--')}" / "blobs"
        for sha256 in released.files.values():
            store.hashes.trust(blobs / sha256, sha256)  # it was read just now
        store.hashes.save()
