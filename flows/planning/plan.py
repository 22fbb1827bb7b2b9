"""What is fresh, what will run, and why. Loads no model and imports no torch."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.destinations import kind_of
from catalog.tokens import check_tokens
from flows.errors import UsageError
from flows.manifest.errors import nearest
from flows.manifest.load import load_all
from flows.manifest.model import Manifest, Rung
from flows.planning.adapter_jobs import AdapterJob, adapter_jobs
from flows.planning.adapter_plan import PlannedAdapter, plan_adapters
from flows.planning.cost import looks
from flows.planning.drafts import held_back
from flows.planning.jobs import Job, jobs
from flows.planning.kinds import BASELINE, FETCH, QUANTIZE, SENSITIVITY, Judged
from flows.planning.memory import Reason, changes, recall
from flows.planning.mixed_precision import with_known_recipes
from flows.planning.preflight import check
from flows.planning.preflight.adapters import check_adapters
from flows.planning.preflight.planned import check_jobs
from flows.planning.sources import Sources
from flows.planning.states import Planned, State, quarantined
from flows.step import Step
from flows.store import Record, Store
from gates.results import EvidenceResult
from publishers.destinations.destination import open_destination
from publishers.request import Place
from publishers.request import Result as Published

_NEVER = Reason.plain("never built")
_UNRELEASED = Reason.plain("passed its gates; `release: true` in its target would release it")
_NOT_RELEASED = Reason.plain("passed, not released yet")
DEFAULT_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True)
class Plan:
    """All jobs of all manifests, in order."""

    jobs: tuple[Planned, ...]
    adapters: tuple[PlannedAdapter, ...] = ()
    """In order, after the jobs of their bases."""

    @property
    def work(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.stale) or any(planned.state == "stale" for planned in self.adapters)

    @property
    def stale(self) -> tuple[Planned, ...]:
        """Jobs with work to do."""
        return tuple(planned for planned in self.jobs if planned.state == "stale")


def read(paths: Iterable[Path], *, allow_path: bool = False) -> list[Manifest]:
    """Load and check manifests, each once; all of them before anything else happens. Raises ManifestError."""
    manifests = list(load_all(dict.fromkeys(path.absolute() for path in paths), allow_path=allow_path))
    for manifest in manifests:
        check(manifest, allow_path=allow_path)
    return manifests


def plan(
    manifests: Sequence[Manifest], store: Store, *, targets: Collection[str] | None = None, retry: bool = False
) -> Plan:
    """Pin every source and compare every job, or those of some `targets`, with the store.

    Raises SourceError, UsageError for a target that no manifest has and for two jobs of one name, and InputError for
    what is no token.
    """
    check_tokens()
    if targets:
        _refuse_unknown(targets, manifests)
    sources = Sources(store, store.hashes)
    endpoint = os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
    all_jobs, wanted = list[Job](), list[Job]()
    for manifest in manifests:
        own = jobs(manifest, sources, endpoint)
        asked = [job for job in own if not targets or job.target.name in targets or _carries(job, targets)]
        check_jobs(manifest, asked, store)
        all_jobs += own
        wanted += asked
    refuse_same_names(all_jobs)
    planned = tuple(held_back([plan_job(job, store, retry=retry) for job in wanted]))
    adapters = tuple(_adapters(planned, targets, sources, store, retry=retry))
    store.hashes.save()
    return Plan(planned, adapters)


def adapters_on(job: Job, store: Store) -> list[AdapterJob]:
    """Return the jobs of a manifest's adapters on one of its jobs, as that stands. Raises SourceError."""
    if not any(adapter.base == job.target.name for adapter in job.manifest.adapters.values()):
        return []
    bases = {job.target.name: plan_job(job, store, retry=True)}
    return adapter_jobs(job.manifest, bases, Sources(store, store.hashes), store)


def _carries(job: Job, names: Collection[str]) -> bool:
    """Whether an adapter of one of these names is trained on what a job makes."""
    return any(name in names and each.base == job.target.name for name, each in job.manifest.adapters.items())


def _adapters(
    planned: Iterable[Planned], targets: Collection[str] | None, sources: Sources, store: Store, *, retry: bool
) -> Iterator[PlannedAdapter]:
    bases: dict[Path, dict[str, Planned]] = {}
    for each in planned:
        bases.setdefault(each.job.manifest.path, {})[each.job.target.name] = each
    for own in bases.values():
        found = plan_adapters(own, set(targets) if targets else None, sources, store, retry=retry)
        check_adapters([each.job for each in found], store)
        yield from found


def refuse_same_names(jobs: Iterable[Job]) -> None:
    """Refuse two jobs that make one release: the later would take the earlier's place. Raises UsageError."""
    owners: dict[str, Job] = {}
    for job in jobs:
        owner = owners.setdefault(job.release, job)
        if owner is not job:
            targets = " and ".join(f"{each.manifest.path}: targets.{each.target.name}" for each in (owner, job))
            raise UsageError(
                f"{targets} both make the release {job.release}: give one another publish.namespace, model.name or target name, "
                "or leave one out"
            )


def _refuse_unknown(targets: Collection[str], manifests: Sequence[Manifest]) -> None:
    known = sorted({name for manifest in manifests for _, name in manifest.made})
    for target in targets:
        if target not in known:
            have = f"no manifest given has such a target; they have {', '.join(known)}"
            raise UsageError(f"--target {target}: {have}{nearest(target, known)}")


def plan_job(job: Job, store: Store, *, retry: bool = False) -> Planned:
    """Say where a job stands, walking its rungs in order; those of a search, once it is known what they are."""
    job = with_known_recipes(job, store)
    refused: Planned | None = None
    for rung in job.target.rungs:
        verdict = verdict_of(job, rung, store)
        if verdict is None:
            return _stale(job, rung, store, retry)
        if verdict.result.passed:
            return _released(job, rung, store)
        state: State = "undecided" if verdict.result.outcome == "undecided" else "failed"
        culprits = ", ".join(gate.name for gate in verdict.result.gates if gate.outcome == verdict.result.outcome)
        refused = Planned(job, state, (), Reason(verdict.result.sentence, f"{state} at {culprits}"), rung)
    assert refused is not None
    return refused


def _stale(job: Job, rung: Rung, store: Store, retry: bool) -> Planned:
    steps = [*job.prepared, job.quantize(rung)]
    # A fetch is among them when the model is not here: its record may be, of a cache that was cleaned up since.
    missing = [step for step in steps if step.kind is FETCH or not store.complete(step)]
    # A network that was away comes back by itself; work that failed three times here does not.
    working = [step for step in missing if step.kind in (BASELINE, SENSITIVITY, QUANTIZE)]
    for step in (*working, *scorings(job, rung, store)):
        if not retry and (left_alone := quarantined(step, store)):
            return Planned(job, "quarantined", (), left_alone, rung)
    last = ("publish",) if job.target.release else ()
    names = tuple(dict.fromkeys([*(step.kind.name for step in missing), "gate", *last]))
    return Planned(job, "stale", names, changes(job, store) or _NEVER, rung, tuple(missing))


def scorings(job: Job, rung: Rung, store: Store) -> list[Step[EvidenceResult]]:
    """Return the steps that may score an artifact; none before it is known how many documents there are."""
    baseline = store.record(job.baseline)
    if baseline is None:
        return []
    artifact = store.record(job.quantize(rung))
    if artifact is None:
        return []
    counts = looks(job, rung, baseline.result.documents)
    return [job.evidence(rung, documents, artifact.content) for documents in counts]


def verdict_of(job: Job, rung: Rung, store: Store) -> Record[Judged] | None:
    """Return the verdict on the artifact that is in the store, these very bytes; None when there is none."""
    verdict = store.record(job.verdict(rung))
    if verdict is None:
        return None
    artifact = store.record(job.quantize(rung))
    return verdict if artifact and verdict.result.content == artifact.content else None


def _released(job: Job, rung: Rung, store: Store) -> Planned:
    """Say whether what passed is out, and the places on this machine still hold it as it was released, and offer it."""
    if not job.target.release:
        return Planned(job, "passed", (), _UNRELEASED, rung)
    record = store.record(job.publish(rung))
    if record is None:
        return Planned(job, "stale", ("publish",), changes(job, store) or _NOT_RELEASED, rung)
    for publication in record.result.places:
        if not kind_of(publication.to).network and (moved := _moved(job, rung, publication, record.result, store)):
            return moved
    return Planned(job, "released", (), Reason.plain("nothing has changed"), rung)


def _moved(job: Job, rung: Rung, publication: Place, published: Published, store: Store) -> Planned | None:
    """Say what has become of a release in a destination on this machine; None when it is whole there, and is `main`."""
    destination, name, version = open_destination(publication.to, store.home), job.release, publication.version
    wrong = destination.damage(name, version, publication.commit, published.files, store.hashes.file)
    if wrong:
        kind = f"damaged {destination.where}"
        return Planned(job, "stale", ("publish",), Reason(f"{version} is {kind}: {wrong}", kind), rung)
    main = destination.main_of(name)
    if main == publication.commit:
        return None
    now = next((release.version for release in destination.versions(name) if release.commit == main), "no version")
    if destination.is_pinned(name):
        why = f"nothing has changed; main is {now} since a rollback, this is {version}"
        return Planned(job, "released", (), Reason(why, "another version is main since a rollback"), rung)
    why = f"main is {now}{_by_another(job, store)}; this manifest makes {version}, which is to be main again"
    return Planned(job, "stale", ("publish",), Reason(why, "another version is main"), rung)


def _by_another(job: Job, store: Store) -> str:
    memory = recall(job, store)
    if memory is None or memory.manifest == job.manifest.path or not memory.manifest.exists():
        return ""
    return f", released last by {memory.manifest}, which makes a release of the same name"
