"""Check a release as somebody would who was not there: every file against its record, and the record against its commit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel, ConfigDict

from publishers.contents import check_release
from publishers.destinations.destination import Destination, Release
from publishers.errors import PublishError
from publishers.listing import NOT_A_FILE, listing
from publishers.provenance import PROVENANCE, Provenance, read_provenance


class Verified(BaseModel):
    """A release that is what it says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    commit: str
    files: dict[str, str]
    """Path → SHA-256 of every file checked."""


def verify(destination: Destination, name: str, version: str | None = None) -> Verified:
    """Check every file of a release, where it is or fetched into a directory that is removed.

    Raises:
        PublishError: there is no such release or version, or it is not what was released: names every difference.
        HubError: the Hub did not answer.
    """
    release = destination.find(name, version)
    if release.directory:
        files = check(destination, release, release.directory)
    else:
        with TemporaryDirectory(prefix="quantmill-verify-") as scratch:
            directory = Path(scratch) / "release"
            destination.fetch(release, directory)
            files = check(destination, release, directory)
    return Verified(name=name, version=release.version, commit=release.commit, files=files)


def check(destination: Destination, release: Release, directory: Path) -> dict[str, str]:
    """Check the files of a release in `directory`: its own, or a copy.

    Returns path → SHA-256. Raises PublishError with every difference, or for what publishing would refuse.
    """
    hashes = listing(directory)
    provenance = read_provenance(directory)
    name = f"{release.name}@{release.version}"
    problems = [
        *_problems(provenance, release.name, hashes),
        *destination.differences(release, directory, hashes),
    ]
    if problems:
        raise PublishError(
            f"{name} is not what was released: {' '.join(problems)} `quantmill repair` mends the local "
            "hub from the store; or use another version."
        )
    try:
        check_release(directory, hashes, provenance)
    except PublishError as error:
        raise PublishError(
            f"{name} is what its record says, and is refused, as publishing it is: {error} Whoever offers it did not "
            "publish it with quantmill: load nothing of it."
        ) from error
    return hashes


def _problems(provenance: Provenance, name: str, hashes: Mapping[str, str]) -> list[str]:
    """Hold the hashes of the files found against those in `quantmill.json`."""
    problems = [] if provenance.name == name else [f"{PROVENANCE} is that of {provenance.name}."]
    for path, file in sorted(provenance.files.items()):
        if hashes.get(path, NOT_A_FILE) == NOT_A_FILE:
            problems.append(f"{path} is missing.")
        elif hashes[path] != file.sha256:
            problems.append(f"{path} has SHA-256 {hashes[path][:12]}…, but {file.sha256[:12]}… was released.")
    extra = sorted(hashes.keys() - provenance.files.keys() - {PROVENANCE})
    return [*problems, *(f"{path} is no part of the release." for path in extra)]
