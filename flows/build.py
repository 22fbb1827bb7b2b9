"""The build flow: what is stale in a plan is prepared, made, judged and released.

A run that is killed is simply started again, and a job that fails does not keep the others from their releases.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from prefect import flow

from catalog.errors import Fault
from flows import tasks
from flows.adapting import adapt
from flows.execution.lock import at_work, heavy
from flows.execution.steps import known
from flows.files.fingerprint import fingerprint
from flows.manifest.model import Rung
from flows.planning import drafts
from flows.planning.batches import batches
from flows.planning.jobs import Job
from flows.planning.kinds import EVIDENCE, Judged
from flows.planning.memory import claim, remember
from flows.planning.plan import Plan, plan_job, verdict_of
from flows.planning.states import Planned
from flows.scrubbing import in_our_words, scrub_logs
from flows.step import Entry, Step
from flows.store import Record, Store
from flows.tasks import ControlPassed, StepsFailed, isolated


@dataclass(frozen=True)
class Passed:
    """An artifact that passed its gates, now or in an earlier run."""

    job: Job
    rung: Rung
    verdict: Record[Judged]
    now: bool
    """Whether it was judged in this run."""

    @property
    def path(self) -> tuple[str, str, str]:
        """What its loading, scoring and judging have in common with those of others."""
        return self.job.baseline.key, self.rung.recipe.format, fingerprint(self.job.runtime(self.rung).said)


@dataclass
class Run:
    """What the jobs of one run share."""

    store: Store
    retry: bool
    """Whether steps that failed too often are tried again."""
    failed: list[Fault] = field(default_factory=list)
    """What stopped each piece of work that failed."""
    passed: list[Passed] = field(default_factory=list)
    """What is to be released, once all is judged and the controls were refused."""
    refused: set[tuple[str, str, str]] = field(default_factory=set)
    """Ways of loading, scoring and judging on which a control was refused in this run."""
    _tried: dict[Entry, bool] = field(default_factory=dict)
    """Steps before any recipe, and whether each is done."""

    def prepared(self, job: Job, step: Step) -> bool:
        """Do a step that jobs share unless this run tried it before; return whether it is done."""
        if step not in self._tried:
            self._tried[step] = False
            with isolated(f"{job.original.name}: {step.kind.name}", self.failed):
                tasks.PREPARING[step.kind](job, step, self.store)
                self._tried[step] = True
        return self._tried[step]

    def planned(self, job: Job) -> Planned:
        """Return where a job stands now."""
        return plan_job(job, self.store, retry=self.retry)


def build(todo: Plan, store: Store, *, retry: bool = False) -> None:
    """Make and release whatever is stale, in one flow run. Raises StepsFailed after doing what could be done."""

    @flow(name="build", flow_run_name="build")
    @in_our_words
    def build(manifests: list[str], home: str) -> None:
        scrub_logs()
        with heavy(store, "sweeping"):
            store.sweep()
        run = Run(store, retry)
        models: dict[Entry, list[Job]] = {}
        for planned in todo.stale:
            claim(planned.job, store)
            models.setdefault(planned.job.baseline, []).append(planned.job)
        build_all(list(models.values()), run)
        build_all([drafted(jobs, run) for jobs in models.values()], run)
        adapt(todo.adapters, store, run.failed, retry=retry)
        if run.failed:
            raise StepsFailed(run.failed)

    with at_work(store):
        build(sorted({str(planned.job.manifest.path) for planned in todo.jobs}), str(store.home))


def build_all(models: list[list[Job]], run: Run) -> None:
    """Make, judge and release the jobs of all models."""
    run.passed.clear()
    for jobs in models:
        build_model(jobs, run)
    release(run)


def drafted(jobs: list[Job], run: Run) -> list[Job]:
    """Return those of a model's jobs that waited for their drafts, now that these are out."""
    ready = []
    for job in jobs:
        if job.waits:
            with isolated(job.release, run.failed):
                ready.append(drafts.out(job, run.store.home))
    return ready


def build_model(jobs: list[Job], run: Run) -> None:
    """Prepare the jobs of one model, then make and judge, until none has a rung left to try."""
    ready = [job for job in jobs if all(run.prepared(job, step) for step in job.prepared)]
    while todo := [planned for job in ready if (planned := run.planned(job)).state == "stale"]:
        for label, work in batches([planned for planned in todo if planned.steps[0] != "publish"]):
            with isolated(label, run.failed):
                tasks.quantize(work, label, run.store)
        ready = [planned.job for planned in todo if judged(planned, run)]


def judged(planned: Planned, run: Run) -> bool:
    """Judge an artifact, which is to be released if it passes; return whether the job may go on: to its next rung, or anew."""
    job, rung, store = planned.job, planned.rung, run.store
    with isolated(job.release, run.failed):
        lost = void_if_lost(job, rung, store)
        if known(store, job.quantize(rung)) is None:
            return lost  # if there was none before either, it could not be made, which was told
        if job.waits:
            return False
        before = verdict_of(job, rung, store)
        verdict = before or tasks.gate(job, rung, store)
        if verdict.result.passed:
            run.passed.append(Passed(job, rung, verdict, now=before is None))
        remember(job, store)
        return not verdict.result.passed
    return False


def release(run: Run) -> None:
    """Release what passed, unless something that is known to be bad passes, too.

    One control goes each way of loading and scoring that was gone in this run, or that has none yet. Where a control could
    not be made, what went that way waits for the next run.
    """
    ways: dict[tuple[str, str, str], list[Passed]] = {}
    for passed in run.passed:
        ways.setdefault(passed.path, []).append(passed)
    for path, way in ways.items():
        if path in run.refused:
            continue
        first = next((passed for passed in way if passed.now), way[0])
        blind = False
        with isolated(first.job.release, run.failed):
            try:
                tasks.control(first.job, first.rung, run.store, anew=first.now)
                run.refused.add(path)
            except ControlPassed:
                blind = True
                raise
        if blind:
            return
    for passed in run.passed:
        if passed.path not in run.refused or not passed.job.target.release:
            continue
        with isolated(passed.job.release, run.failed):
            tasks.publish(passed.job, passed.rung, passed.verdict, run.store)


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
