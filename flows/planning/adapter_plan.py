"""Where the job of an adapter stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flows.planning.adapter_jobs import AdapterJob, adapter_jobs
from flows.planning.kinds import Judged
from flows.planning.memory import Reason, changes
from flows.planning.sources import Sources
from flows.planning.states import JUDGED, Planned, State, quarantined
from flows.step import Step
from flows.store import Record, Store
from publishers.destinations.local import Local


@dataclass(frozen=True)
class PlannedAdapter:
    """A job of an adapter and what the store knows of it."""

    job: AdapterJob
    state: State
    """As of `flows.planning.states.Planned`; an adapter whose base was refused is `failed`, too."""
    steps: tuple[str, ...]
    reason: Reason

    @property
    def why(self) -> str:
        """Why it stands there, in a sentence."""
        return self.reason.sentence

    @property
    def fresh(self) -> bool:
        """Whether there is nothing to do."""
        return self.state in JUDGED


def plan_adapters(
    bases: dict[str, Planned], names: set[str] | None, sources: Sources, store: Store, *, retry: bool
) -> list[PlannedAdapter]:
    """Say where a manifest's adapters stand, all or those of some `names`. Raises SourceError."""
    if not bases:
        return []
    manifest = next(iter(bases.values())).job.manifest
    jobs = adapter_jobs(manifest, bases, sources, store)
    return [plan_adapter(job, store, retry=retry) for job in jobs if names is None or job.name in names]


def based_on(job: AdapterJob, on: Planned, sources: Sources, store: Store) -> AdapterJob:
    """Return the job as it is now that its base stands so."""
    return next(
        each for each in adapter_jobs(job.manifest, {job.adapter.base: on}, sources, store) if each.name == job.name
    )


def plan_adapter(job: AdapterJob, store: Store, *, retry: bool = False) -> PlannedAdapter:
    """Say where an adapter stands."""
    if (job.on.fresh and job.on.state != "released") or job.on.state == "quarantined":
        kind = f"its base is {job.on.state}"
        stands: State = "failed" if job.on.state == "passed" else job.on.state
        return PlannedAdapter(
            job, stands, (), Reason(f"its base {job.base_release} is not released: {job.on.why}", kind)
        )
    verdict = adapter_verdict(job, store)
    if verdict is None:
        return _stale(job, store, retry)
    if not verdict.result.passed:
        state: State = "undecided" if verdict.result.outcome == "undecided" else "failed"
        return PlannedAdapter(job, state, (), Reason(verdict.result.sentence, state))
    return _released(job, store)


def adapter_verdict(job: AdapterJob, store: Store) -> Record[Judged] | None:
    """Return the verdict on the adapter that is in the store, these very bytes; None when there is none."""
    verdict, trained = store.record(job.verdict), store.record(job.train)
    return verdict if verdict and trained and verdict.result.content == trained.content else None


def _stale(job: AdapterJob, store: Store, retry: bool) -> PlannedAdapter:
    missing = [step for step in (*job.prepared, job.train) if not store.complete(step)]
    trained = store.record(job.train)
    working: list[Step[Any]] = [job.train, *([job.evidence(trained.content)] if trained else [])]
    for step in working:
        if not retry and (left_alone := quarantined(step, store)):
            return PlannedAdapter(job, "quarantined", (), left_alone)
    names = tuple(dict.fromkeys([*(step.kind.name for step in missing), "gate", "publish"]))
    waits = Reason.plain("waits for its base") if job.base is None else None
    return PlannedAdapter(job, "stale", names, waits or changes(job, store) or Reason.plain("never built"))


def _released(job: AdapterJob, store: Store) -> PlannedAdapter:
    record, local = store.record(job.publish), Local("", store.home)
    if record is None:
        return PlannedAdapter(
            job, "stale", ("publish",), changes(job, store) or Reason.plain("passed, not released yet")
        )
    for place in record.result.places:
        wrong = local.damage(job.release, place.version, place.commit, record.result.files, store.hashes.file)
        if wrong:
            kind = f"damaged {local.where}"
            return PlannedAdapter(job, "stale", ("publish",), Reason(f"{place.version} is {kind}: {wrong}", kind))
        if local.main_of(job.release) != place.commit and not local.is_pinned(job.release):
            return PlannedAdapter(job, "stale", ("publish",), Reason.plain("another version is main"))
    return PlannedAdapter(job, "released", (), Reason.plain("nothing has changed"))
