"""Take a release, or one version of it, out of the local hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from catalog.formats import ADAPTER
from flows.errors import UsageError
from flows.execution.lock import heavy
from flows.planning.kinds import PUBLISH
from flows.planning.memory import manifest_of
from flows.store import Store
from publishers.destinations.destination import Release
from publishers.destinations.local import Local
from publishers.destinations.upkeep import main_of, take_away, version_of
from publishers.errors import PublishError


@dataclass(frozen=True)
class Removed:
    """What is gone, and what is left."""

    versions: tuple[str, ...]
    bytes: int
    """Freed in the local hub."""
    main: str | None
    """The version that users get now who name none."""
    manifest: Path | None
    """The manifest that asked for the release last."""


def remove(store: Store, name: str, version: str | None) -> Removed:
    """Remove one version, or all.

    Raises PublishError when there is no such release, and UsageError when another one does not run without it.
    """
    local = Local("", store.home)
    chosen = [each for each in local.versions(name) if version in (None, each.version)]
    if not chosen:
        local.find(name, version)  # says what there is
    repository = local.repository(name)
    with heavy(store, f"removing {name}"), local.turn(name):
        for each in chosen:
            _refuse_needed(each, local)
        freed = take_away(repository, [each.version for each in chosen])
    gone = {each.commit for each in chosen}
    for record in store.records(PUBLISH):
        publications = record.result.places
        if record.result.name == name and any(
            publication.to == "local" and publication.commit in gone for publication in publications
        ):
            store.forget(PUBLISH.at(record.key))  # else it would be taken for a release that is damaged
    main = main_of(repository)
    return Removed(
        tuple(each.version for each in chosen), freed, main and version_of(repository, main), manifest_of(name, store)
    )


def _refuse_needed(release: Release, local: Local) -> None:
    """Refuse what another release of the local hub names by its commit."""
    needing = list(_needing(release, local))
    if needing:
        own, first = f"{release.name}@{release.version}", needing[0][0]
        said = ", ".join(f"{other} {how}" for other, how in needing)
        raise UsageError(
            f"{own} is not removed: {said}, by its commit {release.commit[:12]}, and would not run as it was judged without "
            f"it. Remove what needs it first (`quantmill rm {first}`), or keep it."
        )


def _needing(release: Release, local: Local) -> Iterator[tuple[str, str]]:
    """Yield what does not run without a version as it was judged, and what that is to it."""
    for other in local.releases():
        with suppress(PublishError):  # damaged: it does not run as it is
            told = local.provenance(other)
            draft = told.draft and (told.draft.name, told.draft.commit)
            base = told.format == ADAPTER.name and (told.source.id, told.source.revision)
            for named, how in ((draft, "has it as its draft"), (base, "is an adapter of it")):
                if named == (release.name, release.commit):
                    yield f"{other.name}@{other.version}", how
