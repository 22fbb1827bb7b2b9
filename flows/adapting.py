"""Adapters, once their bases are out: texts, training, judging and releasing, as Prefect's tasks."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.errors import Fault, InputError
from flows.execution import adapter_requests, requests
from flows.execution.child import Network
from flows.execution.steps import known, note, perform
from flows.planning.adapter_jobs import AdapterJob
from flows.planning.adapter_plan import PlannedAdapter, adapter_verdict, based_on, plan_adapter
from flows.planning.error_budget import share_of, spending
from flows.planning.kinds import Documents, Judged
from flows.planning.memory import claim, remember
from flows.planning.plan import plan_job
from flows.planning.preflight.planned import reading
from flows.planning.sources import Sources
from flows.step import Step
from flows.store import DamagedEntry, Record, Store
from flows.tasks import isolated, local_step, network_step
from gates.adapters.evidence import AdapterEvidence
from gates.adapters.limits import judge
from gates.safeguards.contamination import overlap


def adapt(todo: Sequence[PlannedAdapter], store: Store, failed: list[Fault], *, retry: bool) -> None:
    """Make, judge and release what is stale, each on its base as that stands now. One whose base is not out is left."""
    sources = Sources(store, store.hashes)
    for planned in todo:
        if planned.state != "stale":
            continue
        with isolated(planned.job.release, failed):
            on = plan_job(planned.job.on.job, store, retry=retry)
            now = plan_adapter(based_on(planned.job, on, sources, store), store, retry=retry)
            if now.state == "stale" and now.job.base is not None:
                _adapt(now.job, store)


def _adapt(job: AdapterJob, store: Store) -> None:
    claim(job, store)
    for step in (job.data, job.held_out, job.general):
        texts(job, step, store)
    for held_out in (job.held_out, job.general):
        apart(job, held_out, store)
    train(job, store)
    verdict = adapter_verdict(job, store) or gate(job, store)
    remember(job, store)
    if verdict.result.passed:
        publish(job, verdict, store)


@network_step("texts", "texts for {job.release}")
def texts(job: AdapterJob, step: Step[Documents], store: Store) -> None:
    """Bring documents here."""
    adapter = job.adapter
    source = {job.data: adapter.data, job.held_out: adapter.held_out}.get(step, job.manifest.evaluation)
    network: Network = "none" if source.files else "token"
    request = requests.texts(step, source, job.manifest.model.task, store)
    perform(store, step, f"{job.release}: {source.where}", request, network=network)


@local_step("contamination", "contamination for {job.release}")
def apart(job: AdapterJob, held_out: Step[Documents], store: Store) -> None:
    """Refuse training text that shares content with what the adapter is judged on. Raises GateError."""
    step = job.contamination(held_out)
    if store.complete(step):
        return
    texts = job.adapter.held_out if held_out == job.held_out else job.manifest.evaluation
    read, judged_by = reading(job.adapter.data, job.data, store), reading(texts, held_out, store)
    assert read and judged_by
    try:
        shared = overlap(read.documents(), judged_by.documents())
    except InputError as error:
        store.fail(step, error)
        raise
    note(store, step, shared)


@local_step("train", "train {job.release}")
def train(job: AdapterJob, store: Store) -> None:
    """Train; a training that was killed goes on from its last checkpoint."""
    perform(store, job.train, f"{job.name}: training", adapter_requests.train(job, store), resume=True)


@local_step("gate", "gate {job.release}")
def gate(job: AdapterJob, store: Store) -> Record[Judged]:
    """Score base and adapter on both texts and judge; return the verdict's record."""
    trained = known(store, job.train)
    if trained is None:
        raise DamagedEntry(
            f"{job.release}: the adapter was damaged in the store during this run; run again to make it anew"
        )
    share = share_of(job.release, (job.verdict.key,), job.verdict.key, trained.content, store)
    step = job.evidence(trained.content)
    perform(store, step, f"{job.name}: gate", adapter_requests.evidence(job, store))
    evidence = AdapterEvidence.model_validate_json((store.out(step) / "evidence.json").read_bytes())
    allowed = 1 - job.adapter.gates.confidence
    verdict = judge(evidence, job.adapter.gates, allowed * share)
    spent = allowed * spending(job.release, store).share
    verdict = verdict.model_copy(update={"spent": spent, "allowed": allowed})
    result = Judged(**dict(verdict), evidence=step.key, content=trained.content)
    return note(store, job.verdict, result, {"verdict.json": verdict.model_dump_json(indent=1)})


@network_step("publish", "publish {job.release}")
def publish(job: AdapterJob, verdict: Record[Judged], store: Store) -> None:
    """Release an adapter that passed."""
    trained = known(store, job.train)
    if trained is None:
        raise DamagedEntry(
            f"{job.release}: the adapter was damaged in the store during this run; run again to make it anew"
        )
    request = adapter_requests.publish(job, trained, verdict, store)
    perform(store, job.publish, f"{job.name}: publish", request, anew=True)
