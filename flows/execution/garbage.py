"""What nothing needs any more: results of no job and no release, work of runs that were killed, caches."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from catalog.errors import Fault
from flows.errors import UsageError
from flows.execution import steps
from flows.manifest.load import load_all
from flows.planning import kinds
from flows.planning.adapter_jobs import AdapterJob
from flows.planning.jobs import Job, jobs
from flows.planning.kinds import (
    ADAPTER_EVIDENCE,
    ADAPTER_VERDICT,
    BASELINE,
    EVIDENCE,
    FETCH,
    PUBLISH,
    QUANTIZE,
    TEXTS,
    TRAIN,
    VERDICT,
)
from flows.planning.memory import memories
from flows.planning.mixed_precision import with_known_recipes
from flows.planning.plan import DEFAULT_ENDPOINT, adapters_on, scorings
from flows.planning.preflight import check
from flows.planning.sources import Sources, fetching
from flows.planning.statistics import statistics_of
from flows.step import Entry, Kind
from flows.store import Record, Store
from publishers.destinations.local import Local
from publishers.errors import PublishError
from publishers.request import Result as Published

KINDS: tuple[Kind[Any], ...] = tuple(kind for kind in vars(kinds).values() if isinstance(kind, Kind))
RESUMED = 7 * 86400
"""Seconds for which the work of an interrupted pass over a model is kept to go on from."""


@dataclass(frozen=True)
class Garbage:
    """Files and directories of one sort that nothing needs."""

    what: str
    paths: tuple[Path, ...]

    @property
    def bytes(self) -> int:
        """Their size."""
        return sum(map(_size, self.paths))


def _size(path: Path) -> int:
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(each.lstat().st_size for each in inside if not each.is_dir())


def garbage(store: Store) -> list[Garbage]:
    """Find what neither a release nor a job of a manifest that was run needs; one row for each sort, empty ones left out.

    Raises UsageError when a manifest that was run is there and cannot be read: what its jobs need is not known.
    """
    needed = _needed(store)
    unneeded = [
        Garbage(f"results of {kind.name}", tuple(_unneeded(store.home / "store" / kind.name, kind, needed)))
        for kind in KINDS
    ]
    names = {entry.name for entry in needed}
    failures = (path for path in (store.home / "failures").glob("*.json") if path.stem not in names)
    unneeded.append(Garbage("failures of steps that nothing needs", tuple(failures)))
    unneeded.append(Garbage("work of runs that were killed", tuple(_dead_work(store.home))))
    unneeded.append(Garbage("models, texts and headers in caches", tuple(_cached(store, needed))))
    return [each for each in unneeded if each.paths]


def remove(unneeded: list[Garbage]) -> None:
    """Remove it, records of results first, so that nothing half-removed is taken for whole."""
    for path in (path for each in unneeded for path in each.paths):
        (path / "record.json").unlink(missing_ok=True) if path.is_dir() else path.unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)


def _unneeded(directory: Path, kind: Kind[Any], needed: set[Entry[Any]]) -> Iterator[Path]:
    yield from (path for path in sorted(directory.glob("*")) if kind.at(path.name) not in needed)


def _needed(store: Store) -> set[Entry[Any]]:
    entries: set[Entry[Any]] = set()
    for job in _asked_for(store):
        entries |= {entry.kind.at(entry.key) for entry in _of_job(job, store)}
        for adapter in adapters_on(job, store):
            entries |= {entry.kind.at(entry.key) for entry in _of_adapter(adapter, store)}
    for record in _released(store):
        entries |= {PUBLISH.at(record.key), *_behind(record.inputs["verdict"], store)}
    local = Local("", store.home)
    for release in local.releases():  # whatever became of the records of their publishing
        with suppress(PublishError):
            entries |= set(_behind(local.provenance(release).key, store))
    return entries


def _asked_for(store: Store) -> Iterator[Job]:
    """Every job of every manifest that was run here and is still there, as its sources were pinned last."""
    sources = Sources(store, store.hashes)
    for path in sorted({memory.manifest for memory in memories(store) if memory.manifest.exists()}):
        try:
            (manifest,) = load_all([path], allow_path=True)
            check(manifest, allow_path=True)
            own = jobs(manifest, sources, DEFAULT_ENDPOINT)
        except Fault as error:
            raise UsageError(
                f"{path} was run here and cannot be planned now, so what its jobs need is not known ({error}): mend it, or move "
                "it away if it is not to be run again"
            ) from error
        yield from (with_known_recipes(job, store) for job in own)


def _of_job(job: Job, store: Store) -> Iterator[Entry[Any]]:
    yield from job.prepared
    if job.original.id:
        yield job.original.fetch
    for rung in job.target.rungs:
        yield job.quantize(rung)
        if statistics := statistics_of(job, rung):
            yield statistics
        yield job.verdict(rung)
        yield job.publish(rung)
        yield from scorings(job, rung, store)
        if artifact := store.record(job.quantize(rung)):
            yield job.control(rung, artifact.content)


def _of_adapter(job: AdapterJob, store: Store) -> Iterator[Entry[Any]]:
    yield from (*job.prepared, job.train, job.verdict, job.publish)
    if trained := store.record(job.train):
        yield job.evidence(trained.content)


def _released(store: Store) -> Iterator[Record[Published]]:
    """Records of releases that are in the local hub, and of the newest of each name elsewhere."""
    here = {(release.name, release.commit) for release in Local("", store.home).releases()}
    newest: dict[tuple[str, str], tuple[int, Record[Published]]] = {}
    for record in store.records(PUBLISH):
        for publication in record.result.places:
            if publication.to == "local":
                if (record.result.name, publication.commit) in here:
                    yield record
                continue
            key, number = (record.result.name, publication.to), int(publication.version[1:])
            if key not in newest or newest[key][0] < number:
                newest[key] = (number, record)
    yield from (record for _, record in newest.values())


def _behind(key: str, store: Store) -> Iterator[Entry[Any]]:
    """What mends a release and makes it again, from the key of its verdict."""
    if adapted := store.record(ADAPTER_VERDICT.at(key)):
        yield ADAPTER_VERDICT.at(key)
        yield ADAPTER_EVIDENCE.at(adapted.result.evidence)
        yield TRAIN.at(adapted.inputs["artifact"])
        return
    verdict = VERDICT.at(key)
    yield verdict
    if judged := store.record(verdict):
        yield EVIDENCE.at(judged.result.evidence)
        yield BASELINE.at(judged.inputs["baseline"])
        step = QUANTIZE.at(judged.inputs["artifact"])
        yield step
        if artifact := store.record(step):
            if text := artifact.inputs["calibration"]:
                yield TEXTS.at(text["texts"])
            model = artifact.inputs["model"]
            if model["id"]:
                step_of_model = fetching(model["id"], model["revision"])
                yield step_of_model.kind.at(step_of_model.key)


def _dead_work(home: Path) -> Iterator[Path]:
    """Yield what nobody works in: whoever asks holds the lock of the store."""
    for path in (home / "scratch").glob("*"):
        if not path.name.startswith(steps.RESUMED) or time.time() - path.stat().st_mtime > RESUMED:
            yield path
    yield from home.glob("rebuild-*")
    current = {"lock", f"{version('prefect')}.db"}
    for path in (home / "prefect").glob("*"):
        if path.name in current:
            continue
        if path.name.startswith("run-"):
            try:
                with FileLock(path / "lock", blocking=False):
                    pass
            except Timeout:
                continue  # its run goes on
        yield path


def _cached(store: Store, needed: set[Entry[Any]]) -> Iterator[Path]:
    """Yield models that no needed step was made of, and texts once every step that reads them is done."""
    models = store.home / "sources"
    kept = set()
    for record in store.records(FETCH):
        if FETCH.at(record.key) in needed:
            kept.add(record.inputs["model"]["revision"])
    for path in models.glob("models--*/snapshots/*"):
        if path.name not in kept:
            yield path
    for repository in models.glob("models--*"):
        if not any(path.name in kept for path in (repository / "snapshots").glob("*")):
            yield repository / "blobs"
    if all(store.complete(entry) for entry in needed if entry.kind is TEXTS):
        yield from (path for path in models.glob("*") if not path.name.startswith((".", "models--")))
    for path in (store.home / "cache" / "headers").rglob("*.json"):
        if path.stem not in kept:
            with suppress(FileNotFoundError):
                yield path
