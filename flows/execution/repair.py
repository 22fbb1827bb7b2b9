"""Mend the local hub from the store: what a release lacks is put back, to the byte, or made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.errors import Fault
from flows.execution.rebuild import made_again
from flows.files.fingerprint import file_sha256
from flows.planning.kinds import ADAPTER_VERDICT, PUBLISH, QUANTIZE, TRAIN, VERDICT
from flows.planning.memory import manifest_of
from flows.step import Entry
from flows.store import Record, Store
from publishers.destinations.local import Local
from publishers.destinations.upkeep import damage, main_of, mend, point_main_at
from publishers.errors import PublishError
from publishers.request import Request
from publishers.request import Result as Published

Find = Callable[[str], Path | None]


@dataclass(frozen=True)
class Repaired:
    """What became of one version."""

    release: str
    version: str
    damage: str
    """What was wrong with it; empty when it was whole."""
    lost: tuple[str, ...] = ()
    """Files that could not be put back."""
    remedy: str = ""
    """What to do about these."""


@dataclass(frozen=True)
class _Version:
    """One version of a release, as it was published."""

    name: str
    version: str
    commit: str
    files: Mapping[str, str]
    verdict: str
    """Key of its verdict; empty when nothing tells it."""
    record: Record[Published] | None
    """None when the store holds none of its publishing."""


def repair(store: Store, wanted: list[tuple[str, str | None]]) -> list[Repaired]:
    """Check releases of the local hub, all when none are `wanted`, and mend what is damaged.

    Raises PublishError for a name that neither the hub nor the store knows.
    """
    known = list(_versions(store))
    for name, version in wanted:
        if not any(v.name == name and version in (None, v.version) for v in known):
            raise PublishError(
                f"No release is called {name}{(version and f'@{version}') or ''}: `quantmill list` shows all."
            )
    chosen = [v for v in known if not wanted or (v.name, v.version) in wanted or (v.name, None) in wanted]
    return [_repair(version, store) for version in chosen]


def _versions(store: Store) -> Iterator[_Version]:
    """Yield what was published here by the store's records, and what else the hub lists and can still say of itself."""
    seen = set()
    for record in store.records(PUBLISH):
        for publication in record.result.places:
            if publication.to == "local" and (record.result.name, publication.version) not in seen:
                seen.add((record.result.name, publication.version))
                verdict = record.inputs["verdict"]
                yield _Version(
                    record.result.name, publication.version, publication.commit, record.result.files, verdict, record
                )
    local = Local("", store.home)
    for release in local.releases():
        if (release.name, release.version) not in seen:
            files, verdict = {}, ""
            with suppress(PublishError):
                provenance = local.provenance(release)
                files, verdict = {path: file.sha256 for path, file in provenance.files.items()}, provenance.key
            yield _Version(release.name, release.version, release.commit, files, verdict, None)


def _repair(version: _Version, store: Store) -> Repaired:
    repository = Local("", store.home).repository(version.name)
    problem = damage(repository, version.version, version.commit, version.files, file_sha256)
    if not problem and not version.files:
        problem = "its record cannot be read."
    if problem or main_of(repository) is None:
        find = _finder(version, store)
        lost = _mend(version, store, find)
        remedy = ""
        if lost:
            lost, remedy = _make_again(version, store, find)
        return Repaired(version.name, version.version, problem or "main is gone.", tuple(lost), remedy)
    return Repaired(version.name, version.version, "")


def _mend(version: _Version, store: Store, find: Find) -> list[str]:
    if not version.files:
        return ["quantmill.json"]
    local = Local("", store.home)
    repository = local.repository(version.name)
    with local.turn(version.name):
        lost = mend(repository, version.version, version.commit, version.files, find)
        if not lost and main_of(repository) is None:
            point_main_at(repository, version.commit)
        return lost


def _finder(version: _Version, store: Store) -> Find:
    """Look contents up by their hash: in the artifact, among what publishing kept, beside the model, in other releases."""
    by_hash: dict[str, Path] = {}
    for kind, made in ((VERDICT, QUANTIZE), (ADAPTER_VERDICT, TRAIN)):
        if verdict := store.record(kind.at(version.verdict)):
            step: Entry[Any] = made.at(verdict.inputs["artifact"])
            if artifact := store.record(step):
                by_hash |= {file.sha256: store.out(step) / name for name, file in artifact.files.items()}
    if version.record:
        publish = PUBLISH.at(version.record.key)
        by_hash |= {file.sha256: store.out(publish) / name for name, file in version.record.files.items()}
        try:
            request = Request.model_validate_json((store.directory(publish) / "request.json").read_bytes())
        except (OSError, ValueError):
            pass
        else:
            beside = request.subject.source.directory
            by_hash |= {sha: beside / path for path, sha in version.files.items() if sha not in by_hash}

    def find(sha256: str) -> Path | None:
        candidates = [by_hash[sha256]] if sha256 in by_hash else []
        candidates += (store.home / "hub").glob(f"models--*/blobs/{sha256}")
        return next((path for path in candidates if path.is_file() and file_sha256(path) == sha256), None)

    return find


def _make_again(version: _Version, store: Store, find: Find) -> tuple[list[str], str]:
    """Make the artifact again and mend with that; return what is lost for good, and what to do."""
    manifest = manifest_of(version.name, store)
    remedy = f"`quantmill run {manifest}` makes it anew" if manifest else "run its manifest again to make it anew"
    verdict = store.record(VERDICT.at(version.verdict))
    step = QUANTIZE.at(verdict.inputs["artifact"] if verdict else "")
    artifact = store.record(step)
    if artifact is None:
        return _mend(version, store, find), remedy
    try:
        with made_again(store, step, artifact, f"{version.name}@{version.version}: make it again") as (made, _):
            fresh = {file_sha256(path): path for path in made.rglob("*") if path.is_file()}
            lost = _mend(version, store, lambda sha256: fresh.get(sha256) or find(sha256))
    except Fault as error:
        return _mend(version, store, find), f"{error}; {remedy}"
    return lost, remedy if lost else ""
