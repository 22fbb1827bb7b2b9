"""What every place that releases go to can do. One file beside this one holds each; `catalog.destinations` lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from catalog.destinations import kind_of, path_of
from publishers.destinations.client import apply_hub_settings
from publishers.errors import PublishError

if TYPE_CHECKING:
    from publishers.provenance import Provenance
    from publishers.request import Place
    from publishers.stage import Staged


class Release(BaseModel):
    """One version of a release, in some destination."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    commit: str
    current: bool
    """Whether this is what `main` is: what a user gets who names no version."""
    directory: Path | None
    """Where its files are, if that is on this machine."""


class Destination(ABC):
    """A place for releases: whole versions that never move, and a `main` that is one of them.

    `publish` is `stage`, then `promote`: until `promote` acts, and then all at once, nobody sees anything new. Both are
    safe to kill at any moment and to repeat. What is refused raises PublishError; a fault of the machine or of the
    network raises what says so, with everything as it was.
    """

    where: str
    """Where that is, in a sentence: `in the local hub`."""
    home: Path | None = None
    """What HF_HOME is to be for stock tools to find a release by name; None: nothing has to be set."""

    @abstractmethod
    def preflight(self, name: str, *, patient: bool = True) -> None:
        """Refuse, before any work, a name that could not be published here. Changes nothing.

        Without `patient` a server that does not answer is asked once.
        """

    @abstractmethod
    def releases(self) -> list[Release]:
        """Every version of every release, by name, oldest version first."""

    @abstractmethod
    def versions(self, name: str) -> list[Release]:
        """Every version of one release, oldest first; none when there is no such release."""

    @abstractmethod
    def stage(self, staged: Staged) -> None:
        """Bring a release's content here, where nobody sees it yet."""

    @abstractmethod
    def promote(self, staged: Staged) -> Place:
        """Make staged content a version and `main`.

        Content that has a version keeps it, and is `main` again unless a rollback put another one there.
        """

    @abstractmethod
    def fetch(self, release: Release, directory: Path) -> None:
        """Bring all files of a version into the new `directory`, unchecked."""

    @abstractmethod
    def read(self, release: Release, path: str) -> bytes:
        """Read one file of a version, unchecked."""

    @abstractmethod
    def differences(self, release: Release, directory: Path, files: Mapping[str, str]) -> list[str]:
        """How `files` of `directory` (path → SHA-256) differ from what the version's commit stands for, as sentences."""

    @abstractmethod
    def rollback(self, release: Release) -> None:
        """Make an earlier version `main`, until the next new version is published. No version moves."""

    @abstractmethod
    def damage(
        self, name: str, version: str, commit: str, files: Mapping[str, str], hashed: Callable[[Path], str]
    ) -> str:
        """What is wrong with a version, in one sentence, or nothing: when it is whole, or only the network would tell.

        `files` is path → SHA-256 of all that was released; `hashed` returns a file's SHA-256, from memory if it can.
        """

    @abstractmethod
    def main_of(self, name: str) -> str | None:
        """Commit that users get who name no version, or None."""

    @abstractmethod
    def is_pinned(self, name: str) -> bool:
        """Whether `main` is what a rollback made it: it stays so until something new is published."""

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Keep other publishers of a name out, where the place allows it."""
        yield

    def publish(self, staged: Staged) -> Place:
        """Put a release here; return where. Content that has a version keeps it."""
        with self.turn(staged.name):
            self.stage(staged)
            return self.promote(staged)

    def find(self, name: str, version: str | None = None) -> Release:
        """The release `name` at `version`; without one, what `main` is.

        Raises:
            PublishError: there is no such release or version, or `main` is none.
        """
        known = self.versions(name)
        if not known:
            raise PublishError(f"There is no release called {name!r} {self.where}{self.near(name)}")
        said = ", ".join(release.version for release in known)
        if version is None:
            if current := [release for release in known if release.current]:
                return current[-1]
            raise PublishError(
                f"main of {name} {self.where} is none of its versions ({said}): publishing was cut short, or somebody changed "
                f"it. Name a version, such as {name}@{known[-1].version}, or put one back with `quantmill rollback`."
            )
        for release in known:
            if release.version == version:
                return release
        raise PublishError(f"{name} has no version {version!r} {self.where}. It has {said}.")

    def near(self, name: str) -> str:
        """What to do about a name that is not there, as the end of a sentence."""
        return ": check the name."

    def provenance(self, release: Release) -> Provenance:
        """Read the `quantmill.json` of a version. Raises PublishError when it is damaged."""
        from publishers.provenance import PROVENANCE, parse_provenance, read_provenance

        if release.directory:
            return read_provenance(release.directory)
        return parse_provenance(self.read(release, PROVENANCE), f"{release.name}@{release.version} {self.where}")


def open_destination(address: str, home: Path, *, private: bool = True) -> Destination:
    """Open a destination as manifests, records and `--at` write it.

    `home` is the store; `private` is what a repository on a server is to be.

    Raises:
        ValueError: it is no destination.
    """
    kind = kind_of(address)
    if kind.network:
        apply_hub_settings()
    made: Destination = resolve_name(kind.code)(path_of(address), home, private)
    return made
