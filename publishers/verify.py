"""Check a release as somebody would who was not there: every file against its record, and the record against its id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from pydantic import BaseModel, ConfigDict

from publishers.contents import check_release
from publishers.destinations import local
from publishers.destinations.download import Fetched, download
from publishers.destinations.ownership import ATTRIBUTES
from publishers.errors import PublishError
from publishers.files import is_listed_as, sha256_of
from publishers.provenance import PROVENANCE, Provenance, content_id, read_provenance

NOT_A_FILE = "not a file"
"""In place of a hash: a link that leads nowhere, a device, a pipe."""
COMPILED = re.compile(r"model_cache/[^/]+\.(blob|cl_cache)\Z")
"""What OpenVINO leaves beside a model that it compiled for a device; no loader reads weights or code from it."""


class Verified(BaseModel):
    """A release that is what it says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    commit: str
    files: dict[str, str]
    """Path → SHA-256 of every file checked."""


def verify(home: Path, name: str, version: str | None = None, source: Literal["local", "hub"] = "local") -> Verified:
    """Check every file of a release, in the local hub or downloaded from the Hub into a directory that is removed.

    Raises:
        PublishError: there is no such release or version, or it is not what was released: names every difference.
        HubError: the Hub did not answer.
    """
    if source == "local":
        release = local.find(home, name, version)
        files = check_local(release.directory, name, release.version, release.commit)
        return Verified(name=name, version=release.version, commit=release.commit, files=files)
    with TemporaryDirectory(prefix="quantmill-verify-") as scratch:
        fetched = download(name, version, Path(scratch) / "release")
        files = check_fetched(fetched, name)
    return Verified(name=name, version=fetched.version, commit=fetched.commit, files=files)


def check_local(directory: Path, name: str, version: str, commit: str) -> dict[str, str]:
    """Check a release whose commit id is made of its content, and so covers the provenance record as well.

    Returns path → SHA-256. Raises PublishError with every difference.
    """
    found = listing(directory)
    provenance = read_provenance(directory)
    problems = _problems(provenance, name, found)
    if (made := content_id(found)) != commit:
        problems.append(f"The content has id {made[:12]}…, but it is filed under {commit[:12]}….")
    _refuse(name, version, problems)
    _refuse_unpublishable(directory, name, version, provenance, found)
    return found


def check_fetched(fetched: Fetched, name: str) -> dict[str, str]:
    """Check a release from the Hub, whose tree lists the hash of every file, the provenance record's included.

    Returns path → SHA-256. Raises PublishError with every difference.
    """
    found = listing(fetched.directory)
    provenance = read_provenance(fetched.directory)
    problems = _problems(provenance, name, found)
    for path in sorted(fetched.tree.keys() - {ATTRIBUTES}):
        if path not in found or not is_listed_as(fetched.directory / path, found[path], fetched.tree[path]):
            problems.append(f"{path} is not what the Hub lists at this commit.")
    _refuse(name, fetched.version, problems)
    _refuse_unpublishable(fetched.directory, name, fetched.version, provenance, found)
    return found


def _problems(provenance: Provenance, name: str, found: Mapping[str, str]) -> list[str]:
    """Hold the hashes of the files found against those in `quantmill.json`."""
    problems = [] if provenance.name == name else [f"{PROVENANCE} is that of {provenance.name}."]
    for path, file in sorted(provenance.files.items()):
        if found.get(path, NOT_A_FILE) == NOT_A_FILE:
            problems.append(f"{path} is missing.")
        elif found[path] != file.sha256:
            problems.append(f"{path} has SHA-256 {found[path][:12]}…, but {file.sha256[:12]}… was released.")
    extra = sorted(found.keys() - provenance.files.keys() - {PROVENANCE})
    return [*problems, *(f"{path} is no part of the release." for path in extra)]


def _refuse(name: str, version: str, problems: list[str]) -> None:
    if problems:
        raise PublishError(
            f"{name}@{version} is not what was released: {' '.join(problems)} `quantmill repair` mends "
            "the local hub from the store; or use another version."
        )


def _refuse_unpublishable(
    directory: Path, name: str, version: str, provenance: Provenance, found: Mapping[str, str]
) -> None:
    """What publishing refuses is no release, even where every hash is as recorded."""
    try:
        check_release(directory, found, provenance)
    except PublishError as error:
        raise PublishError(
            f"{name}@{version} is what its record says, and is refused, as publishing it is: {error} Whoever offers it did "
            "not publish it with quantmill: load nothing of it."
        ) from error


def listing(directory: Path) -> dict[str, str]:
    """Path → SHA-256 of every file in a release's directory but what was compiled from it since."""
    return {
        relative: sha256_of(path) if path.is_file() else NOT_A_FILE for relative, path in entries(directory).items()
    }


def entries(directory: Path) -> dict[str, Path]:
    """Relative path → path of all that `listing` lists."""
    found = (path for path in sorted(directory.rglob("*")) if path.is_symlink() or not path.is_dir())
    named = {path.relative_to(directory).as_posix(): path for path in found}
    return {relative: path for relative, path in named.items() if not COMPILED.match(relative)}
