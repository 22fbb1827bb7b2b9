"""Take a release, or one version of it, out of the local hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.execution.lock import heavy
from flows.planning.kinds import PUBLISH
from flows.planning.memory import manifest_of
from flows.store import Store
from publishers.destinations.local import Local
from publishers.destinations.upkeep import main_of, take_away, version_of


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
    """Remove one version, or all. Raises PublishError when there is no such release."""
    local = Local("", store.home)
    chosen = [each for each in local.versions(name) if version in (None, each.version)]
    if not chosen:
        local.find(name, version)  # says what there is
    repository = local.repository(name)
    with heavy(store, f"removing {name}"), local.turn(name):
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
