"""Fetch a release by name: nothing is handed over that is not, byte for byte, what was released."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from pydantic import BaseModel, ConfigDict

from publishers.card.loading import snippet
from publishers.destinations import local
from publishers.destinations.download import Fetched, download
from publishers.errors import PublishError
from publishers.provenance import read_provenance
from publishers.verify import check_fetched, check_local, entries, listing


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


def pull(
    name: str, version: str | None, to: Path | None, home: Path, source: Literal["local", "hub"] = "local"
) -> Pulled:
    """Check a release and copy it to the directory `to`, which must be new, empty or hold this very release.

    Without `to`, a release of the local hub is checked where it is, to be loaded by name; one from the Hub goes to a
    directory of its own name here.

    Raises:
        PublishError: no such release or version, a file that differs from what was released, or `to` is taken.
        HubError: the Hub did not answer.
    """
    if source == "local" and to is None:
        return _in_place(name, version, home)
    to = (to or Path(name.split("/")[-1])).absolute()
    to.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as scratch:
        fetch = partial(_copy, home) if source == "local" else _download
        fetched, files = fetch(name, version, Path(scratch) / "release")
        provenance = read_provenance(fetched.directory)
        _install(fetched.directory, to)
    code = snippet(provenance.format, provenance.task, str(to))
    return Pulled(name=name, version=fetched.version, commit=fetched.commit, directory=to, files=files, snippet=code)


def _in_place(name: str, version: str | None, home: Path) -> Pulled:
    release = local.find(home, name, version)
    files = check_local(release.directory, name, release.version, release.commit)
    code = snippet(release.provenance.format, release.provenance.task, name, release.version, home.resolve())
    return Pulled(
        name=name,
        version=release.version,
        commit=release.commit,
        directory=release.directory,
        files=files,
        snippet=code,
    )


def _copy(home: Path, name: str, version: str | None, directory: Path) -> tuple[Fetched, dict[str, str]]:
    release = local.find(home, name, version)
    for relative, path in entries(release.directory).items():
        (directory / relative).parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            shutil.copyfile(path, directory / relative)
    files = check_local(directory, name, release.version, release.commit)
    return Fetched(directory, release.version, release.commit, {}), files


def _download(name: str, version: str | None, directory: Path) -> tuple[Fetched, dict[str, str]]:
    fetched = download(name, version, directory)
    return fetched, check_fetched(fetched, name)


def _install(checked: Path, to: Path) -> None:
    """Rename a checked directory to its place, which may hold the same release already, or nothing."""
    if to.is_dir() and not any(to.iterdir()):
        to.rmdir()
    if not to.exists():
        checked.rename(to)
    elif not (to.is_dir() and listing(checked) == listing(to)):
        raise PublishError(f"{to} holds something else already, and a pull replaces nothing: name a new directory.")
