"""Fetch a release by name: nothing is handed over that is not, byte for byte, what was released."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ConfigDict

from catalog import architectures
from publishers.card.loading import snippet
from publishers.destinations.destination import Destination, Release
from publishers.errors import PublishError
from publishers.listing import listing
from publishers.provenance import read_provenance
from publishers.verify import check


class Pulled(BaseModel):
    """A checked release and how to load it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    commit: str
    directory: Path
    """Where its files are."""
    files: dict[str, str]
    """Path → SHA-256 of every file, all of them checked."""
    snippet: str
    """Python that loads it with the stock client, as a program of its own."""


def pull(destination: Destination, name: str, version: str | None = None, to: Path | None = None) -> Pulled:
    """Check a release and copy it to the directory `to`, which must be new, empty or hold this very release.

    Without `to`, a release that is on this machine is checked where it is, to be loaded by name; another goes to a
    directory of its own name here.

    Raises:
        PublishError: no such release or version, a file that differs from what was released, or `to` is taken.
        HubError: the Hub did not answer.
    """
    release = destination.find(name, version)
    loaded_by: tuple[Any, ...]
    if to is None and release.directory:
        directory, files = release.directory, check(destination, release, release.directory)
        loaded_by = (name, release.version, destination.home and destination.home.resolve())
    else:
        directory = (to or Path(name.split("/")[-1])).absolute()
        files = _fetch(destination, release, directory)
        loaded_by = (str(directory),)
    provenance = read_provenance(directory)
    return Pulled(
        name=name,
        version=release.version,
        commit=release.commit,
        directory=directory,
        files=files,
        snippet=snippet(
            provenance.format,
            provenance.task,
            *loaded_by,
            runtime=provenance.runtime,
            architectures=architectures.named(directory),
        ),
    )


def _fetch(destination: Destination, release: Release, to: Path) -> dict[str, str]:
    """Fetch beside `to`, check, and rename into place; return path → SHA-256."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as scratch:
        fetched = Path(scratch) / "release"
        destination.fetch(release, fetched)
        files = check(destination, release, fetched)
        _install(fetched, to)
    return files


def _install(checked: Path, to: Path) -> None:
    """Rename a checked directory to its place, which may hold the same release already, or nothing."""
    if to.is_dir() and not any(to.iterdir()):
        to.rmdir()
    if not to.exists():
        checked.rename(to)
    elif not (to.is_dir() and listing(checked) == listing(to)):
        raise PublishError(f"{to} holds something else already, and a pull replaces nothing: name a new directory.")
