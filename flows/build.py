"""The build flow: fetch → baseline → quantize → gate → publish, for every stale job of some manifests.

The tasks are thin: each looks its work up in the store, or runs it in a child process. Truth is in the store, not in
Prefect: a run that is killed is simply started again. A job that fails does not keep the others from their releases.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from catalog.errors import Fault, StepFault
from flows.execution import requests
from flows.execution.child import Network
from flows.execution.contamination import refuse_overlap
from flows.execution.steps import known, note, perform, perform_together
from flows.manifest.model import Rung, Texts
from flows.planning.batches import batches
from flows.planning.jobs import Job
from flows.planning.kinds import BASELINE, EVIDENCE, SENSITIVITY, Documents, Judged
from flows.planning.machine import refuse_unfit
from flows.planning.plan import Plan, Planned, plan, plan_job, read, refuse_without_token, remember, verdict_of
from flows.reports.history import note_outcome
from flows.reports.verdict_page import evidence_of, verdict_page
from flows.scrubbing import in_our_words, scrub_logs
from flows.step import Step
from flows.store import DamagedEntry, Record, Store
from gates.results import EvidenceResult
from gates.statistics.sequential import interim_looks
from gates.verdict import judge

log = logging.getLogger(__name__)


class StepsFailed(StepFault):
    """Some steps did not finish; what could be done without them is done."""


def _transient(task: Any, run: Any, state: Any) -> bool:
    """Whether to try a network step again: not when the request itself was refused."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, Fault) and error.retried


@task(
    name="fetch",
    task_run_name="fetch {job.original.name}",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=_transient,
)
@in_our_words
def fetch(job: Job, store: Store) -> Path:
    """Bring a Hub model's files here; return their directory."""
    if job.original.directory:
        return job.original.directory
    step = job.original.fetch
    label, request = f"{job.original.name}: fetch", requests.fetch(job.original, store)
    record = perform(store, step, label, request, network="token")
    if not (record.result.directory / "config.json").exists():  # the cache was cleaned up since
        store.forget(step)
        record = perform(store, step, label, request, network="token")
    return record.result.directory


@task(
    name="texts",
    task_run_name="texts for {job.original.name}",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=_transient,
)
@in_our_words
def texts(job: Job, store: Store) -> None:
    """Bring evaluation and calibration documents here, and refuse the one where it shares content with the other."""
    manifest = job.manifest
    wanted: list[tuple[str, Step[Documents], Texts]] = [("evaluation", job.evaluation, manifest.evaluation)]
    if job.calibration:
        wanted.append(("calibration", job.calibration, manifest.calibration))
    for name, step, source in wanted:
        request = requests.texts(step, source, store)
        network: Network = "none" if source.files else "token"
        perform(store, step, f"{job.original.name}: {name} text", request, network=network)
    if job.calibration:
        refuse_overlap(job, job.calibration, store)


@task(name="baseline", task_run_name="baseline {job.original.name}", cache_policy=NO_CACHE)
@in_our_words
def baseline(job: Job, store: Store) -> None:
    """Score the original, once for all its targets."""
    network: Network = "read" if requests.tasks_from_hub(job) else "none"
    perform(store, job.baseline, f"{job.original.name}: baseline", requests.baseline(job, store), network=network)


@task(name="sensitivity", task_run_name="sensitivity for {job.release}", cache_policy=NO_CACHE)
@in_our_words
def sensitivity(job: Job, store: Store) -> None:
    """Measure what each dtype does to each group of linears, once for all budgets."""
    if search := job.target.search:
        request = requests.sensitivity(job, search, store)
        perform(store, job.sensitivity(search), f"{job.target.name}: sensitivity", request)


@task(name="quantize", task_run_name="quantize {label}", cache_policy=NO_CACHE)
@in_our_words
def quantize(work: list[tuple[Job, Rung]], label: str, store: Store) -> None:
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
        failed: list[str] = []
        for job, rung in missing:
            with _isolated(f"{job.release} {rung.name}", failed):
                _make([(job, rung)], f"{label}: {rung.name} alone", store)
        if failed:
            raise StepsFailed("; ".join(failed)) from None


def _make(work: list[tuple[Job, Rung]], label: str, store: Store) -> None:
    if work:
        steps = [job.quantize(rung) for job, rung in work]
        perform_together(store, steps, label, requests.quantize(work, store))


@task(name="gate", task_run_name="gate {job.release} {rung.name}", cache_policy=NO_CACHE)
@in_our_words
def gate(job: Job, rung: Rung, store: Store) -> Record[Judged]:
    """Score one artifact on more and more documents until its gates are decided; return the verdict's record."""
    original = known(store, job.baseline)
    artifact = known(store, job.quantize(rung))
    if original is None or artifact is None:
        raise DamagedEntry(
            f"{job.release}: the artifact or the baseline was damaged in the store and is removed; run again to make it anew"
        )
    network: Network = "read" if requests.tasks_from_hub(job) else "none"
    before: Step[EvidenceResult] | None = None
    for documents in interim_looks(original.result.documents):
        step = job.evidence(rung, documents, artifact.content)
        request = requests.evidence(job, rung, documents, artifact, before, store)
        label = f"{job.target.name}: gate {rung.name}, {documents} documents"
        perform(store, step, label, request, network=network)
        verdict = judge(evidence_of(store, step), job.manifest.gates)
        if not verdict.more:
            break
        before = step
    page = verdict_page(job, rung, verdict, step, store)
    files = {"verdict.json": verdict.model_dump_json(indent=1), "verdict.html": page}
    result = Judged(**dict(verdict), evidence=step.key, content=artifact.content)
    record = note(store, job.verdict(rung), result, files)
    note_outcome(job, rung, record, store)
    return record


@task(
    name="publish",
    task_run_name="publish {job.release}",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=_transient,
)
@in_our_words
def publish(job: Job, rung: Rung, store: Store) -> None:
    """Release an artifact that passed, and remember what it was made of."""
    step = job.publish(rung)
    store.forget(step)  # the release it speaks of may be gone: publishing again is idempotent
    artifact, verdict = store.record(job.quantize(rung)), store.record(job.verdict(rung))
    assert artifact and verdict
    request = requests.publish(job, rung, artifact, verdict, store)
    network: Network = "token" if "hub" in job.manifest.publish.to else "none"
    perform(store, step, f"{job.target.name}: publish", request, network=network)
    remember(job, store)


@contextmanager
def _isolated(name: str, failed: list[str]) -> Iterator[None]:
    """Keep a piece of work that fails from stopping the others: add a line to `failed`."""
    try:
        yield
    except Exception as error:  # whatever it is, it is told, fails the run at the end, and spares the others
        log.error("%s: %s", name, error)
        failed.append(f"{name}: {error}")


def mill(todo: Plan, store: Store, *, retry: bool = False) -> list[str]:
    """Do all stale jobs, model by model; return one line for every piece of work that failed."""
    with store.heavy():
        store.sweep()
    failed: list[str] = []
    models: dict[str, list[Planned]] = {}
    for planned in todo.stale:
        models.setdefault(planned.job.baseline.key, []).append(planned)
    for group in models.values():
        with _isolated(group[0].job.original.name, failed):
            ready = with_sensitivities(prepare(group, store, failed), store, failed, retry=retry)
            run_ladders(ready, store, failed, retry=retry)
    return failed


def prepare(group: list[Planned], store: Store, failed: list[str]) -> list[Planned]:
    """Bring one model and its texts here and score it; return its jobs, knowing where its files are."""
    directory = fetch(group[0].job, store)
    ready = [replace(p, job=replace(p.job, original=replace(p.job.original, directory=directory))) for p in group]
    for job in {(p.job.evaluation.key, p.job.calibration and p.job.calibration.key): p.job for p in ready}.values():
        with _isolated(f"{job.original.name}: texts", failed):
            texts(job, store)
    # A target that reads no calibration text goes on without it.
    later = (BASELINE, SENSITIVITY)
    ready = [p for p in ready if all(store.complete(s) for s in p.job.prepared if s.kind not in later)]
    if ready:
        baseline(ready[0].job, store)
    return ready


def with_sensitivities(ready: list[Planned], store: Store, failed: list[str], *, retry: bool) -> list[Planned]:
    """Measure sensitivities where recipes follow from them; return the jobs with work to do, all recipes known."""
    known_now = [planned for planned in ready if planned.job.recipes_known]
    for planned in (planned for planned in ready if not planned.job.recipes_known):
        with _isolated(f"{planned.job.release}: sensitivity", failed):
            sensitivity(planned.job, store)
            known_now.append(plan_job(planned.job, store, retry=retry))
    return [planned for planned in known_now if planned.state == "stale"]


def run_ladders(todo: list[Planned], store: Store, failed: list[str], *, retry: bool) -> None:
    """Make, gate and release; what its gates refuse goes on to its ladder's next rung, until none is left."""
    while todo:
        for label, work in batches([p for p in todo if p.steps[0] != "publish"]):
            with _isolated(label, failed):
                quantize(work, label, store)
        after = []
        for planned in todo:
            with _isolated(planned.job.release, failed):
                if _judge_and_release(planned, store):
                    after.append(plan_job(planned.job, store, retry=retry))
        todo = [planned for planned in after if planned.state == "stale"]


def _judge_and_release(planned: Planned, store: Store) -> bool:
    """Return whether the job came further; it does not when its artifact could not be made, which was told already."""
    job, rung = planned.job, planned.rung
    lost = void_if_lost(job, rung, store)
    if known(store, job.quantize(rung)) is None:
        return lost
    verdict = verdict_of(job, rung, store) or gate(job, rung, store)
    if verdict.result.passed:
        publish(job, rung, store)
    else:
        remember(job, store)
    return True


def void_if_lost(job: Job, rung: Rung, store: Store) -> bool:
    """Drop a verdict about an artifact or evidence that is lost or damaged; return whether there was one to drop.

    They are made anew, scored and judged again, before anything is released.
    """
    verdict = store.record(job.verdict(rung))
    if verdict is None:
        return False
    evidence, artifact = known(store, EVIDENCE.at(verdict.result.evidence)), known(store, job.quantize(rung))
    if evidence and artifact:
        return False
    store.forget(job.verdict(rung))
    return True


@flow(name="build", flow_run_name="build")
@in_our_words
def build(
    manifests: list[str],
    home: str,
    targets: list[str] | None = None,
    retry: bool = False,
    allow_path: bool = False,
) -> None:
    """Make and release whatever is stale in some manifests. Raises StepsFailed after doing what could be done."""
    scrub_logs()
    store = Store(Path(home))
    todo = plan(read(map(Path, manifests), allow_path=allow_path), store, targets=targets, retry=retry)
    refuse_without_token(todo)
    refuse_unfit(todo, store.home)
    failed = mill(todo, store, retry=retry)
    if failed:
        raise StepsFailed("; ".join(failed))
