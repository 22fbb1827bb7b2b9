"""A directory in the layout of huggingface_hub's cache, so stock tools load a release by name, offline.

A repository is `HOME/hub/models--<namespace>--<name>/` with `blobs/<sha256>`, `snapshots/<commit>/<path>` (links to
blobs), `refs/main` and `refs/vN`. A commit is made of its content. Two things hold at every moment, whatever was killed
when: a reference names a whole snapshot, and a version never moves. `refs/main` is where new versions appear and what a
rollback moves.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from publishers.destinations import upkeep
from publishers.destinations.destination import Destination, Release
from publishers.errors import PublishError
from publishers.files import link_or_copy, remove_tree, sha256_of, sync_directory, write_new
from publishers.listing import entries
from publishers.progress import progress
from publishers.provenance import COMMIT, PROVENANCE, VERSION, content_id, read_provenance
from publishers.request import Place

if TYPE_CHECKING:
    from publishers.stage import Staged


class Cache(Destination):
    """Releases below `home/hub`. Two publishers of one name take turns, on whatever machines they run."""

    home: Path

    def __init__(self, home: Path, address: str, where: str) -> None:
        self.home, self.address, self.where = home, address, where

    def preflight(self, name: str, *, patient: bool = True) -> None:
        """Refuse a name below which another program cached somebody's model."""
        self._refuse_foreign(name)

    def _refuse_foreign(self, name: str) -> None:
        repository = self.repository(name)
        main = _read_ref(repository, "main")
        if main is None or _version_of(repository, main):
            return
        try:
            if read_provenance(snapshot_of(repository, main)).name == name:
                return  # of a publisher that was killed before it named the version
        except PublishError:
            pass
        raise PublishError(
            f"{repository} holds a model that quantmill did not publish, and a release called {name} would take its name "
            "away. Publish under another namespace or target name, or remove that directory."
        )

    def releases(self) -> list[Release]:
        """Every version of every release, by name, oldest version first."""
        names = [path.name.removeprefix("models--").replace("--", "/", 1) for path in self._repositories()]
        return [release for name in names for release in self.versions(name)]

    def versions(self, name: str) -> list[Release]:
        """Every version of one release, oldest first. Raises PublishError when one was made to name no commit."""
        repository = self.repository(name)
        main = _read_ref(repository, "main")
        releases = []
        for version in _versions(repository):
            commit = _read_ref(repository, version) or ""
            if not COMMIT.match(commit):
                raise PublishError(
                    f"{name}@{version} {self.where} points at {commit!r}, which is no commit: its file refs/{version} was "
                    "changed. Remove that file and publish the release again."
                )
            directory = snapshot_of(repository, commit)
            releases.append(
                Release(name=name, version=version, commit=commit, current=commit == main, directory=directory)
            )
        return releases

    def near(self, name: str) -> str:
        """Name the releases that are called nearly so."""
        names = sorted({release.name for release in self.releases()})
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it holds {len(names)} others."
        return f"; {hint} `quantmill list` shows all of them with their versions."

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Hold the repository for writing. The kernel frees the lock of a killed holder."""
        locks = self.home / "hub" / ".locks" / self.repository(name).name
        locks.mkdir(parents=True, exist_ok=True)
        # A publisher under another user of the group must be able to open it, too.
        with FileLock(locks / "publish.lock", mode=0o664, is_singleton=True):
            yield

    def stage(self, staged: Staged) -> None:
        """Store blobs and snapshot; no reference names them yet."""
        repository = self.repository(staged.name)
        with self.turn(staged.name), _partial(repository) as partial:
            for part in ("blobs", "refs", "snapshots"):
                (repository / part).mkdir(exist_ok=True)
            self._store_blobs(staged, repository / "blobs", partial)
            _store_snapshot(staged, repository, partial)

    def promote(self, staged: Staged) -> Place:
        """Point `main` and a new version at a snapshot that is whole; `main` alone at one that has a version."""
        repository = self.repository(staged.name)
        with self.turn(staged.name), _partial(repository) as partial:
            version = _version_of(repository, staged.commit)
            if version is None:
                self._refuse_foreign(staged.name)
                version = _next_version(repository)
                _point(repository, "main", staged.commit, partial)
                _claim(repository, version, staged.commit, partial)
            elif self.main_of(staged.name) != staged.commit and not self.is_pinned(staged.name):
                _point(repository, "main", staged.commit, partial)
        return Place(to=self.address, version=version, commit=staged.commit, url=self._url(staged))

    def fetch(self, release: Release, directory: Path) -> None:
        """Copy what the snapshot's links lead to."""
        assert release.directory
        for relative, path in entries(release.directory).items():
            (directory / relative).parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                shutil.copyfile(path, directory / relative)

    def read(self, release: Release, path: str) -> bytes:
        """Read one file of a version."""
        assert release.directory
        return (release.directory / path).read_bytes()

    def differences(self, release: Release, directory: Path, files: Mapping[str, str]) -> list[str]:
        """The commit covers every file, the provenance record's too."""
        if (made := content_id(files)) == release.commit:
            return []
        return [f"The content has id {made[:12]}…, but it is filed under {release.commit[:12]}…."]

    def rollback(self, release: Release) -> None:
        """Point `main` at an earlier version, and note that it is to stay there."""
        repository = self.repository(release.name)
        with self.turn(release.name), _partial(repository) as partial:
            _point(repository, "main", release.commit, partial)
            write_new(partial / upkeep.PINNED, release.commit.encode())
            (partial / upkeep.PINNED).replace(repository / upkeep.PINNED)

    def damage(
        self, name: str, version: str, commit: str, files: Mapping[str, str], hashed: Callable[[Path], str]
    ) -> str:
        """Look at reference, links and blobs."""
        return upkeep.damage(self.repository(name), version, commit, files, hashed)

    def main_of(self, name: str) -> str | None:
        """Read the reference."""
        return _read_ref(self.repository(name), "main")

    def is_pinned(self, name: str) -> bool:
        """Read the note that a rollback left."""
        return upkeep.is_pinned(self.repository(name))

    def repository(self, name: str) -> Path:
        """Directory of a release's repository, whether it exists or not."""
        return self.home / "hub" / f"models--{name.replace('/', '--')}"

    def _url(self, staged: Staged) -> str:
        return str(snapshot_of(self.repository(staged.name), staged.commit))

    def _repositories(self) -> list[Path]:
        return sorted((self.home / "hub").glob("models--*--*"))

    def _store_blobs(self, staged: Staged, blobs: Path, partial: Path) -> None:
        """Store each content once under its hash. A blob that is there is read again, and replaced when it is damaged."""
        for done, (path, file) in enumerate(sorted(staged.files.items())):
            progress(f"publish {path} {self.where}", done, len(staged.files))
            blob = blobs / file.sha256
            if not blob.exists() or sha256_of(blob) != file.sha256:
                link_or_copy(staged.directory / path, partial / file.sha256)
                (partial / file.sha256).replace(blob)
        sync_directory(blobs)


def snapshot_of(repository: Path, commit: str) -> Path:
    """Directory of a commit's files, whether it exists or not."""
    return repository / "snapshots" / commit


@contextmanager
def _partial(repository: Path) -> Iterator[Path]:
    """Empty directory for what is being written; what a killed publisher left there goes first."""
    partial = repository / ".partial"
    remove_tree(partial)
    partial.mkdir(parents=True)
    yield partial
    remove_tree(partial)


def _store_snapshot(staged: Staged, repository: Path, partial: Path) -> None:
    """Assemble the snapshot aside and rename it into place; one that somebody changed is exchanged."""
    assembled = partial / "snapshot"
    snapshot = snapshot_of(repository, staged.commit)
    links = {}
    for path, file in staged.files.items():
        (assembled / path).parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (2 + path.count("/"))
        links[path] = f"{up}blobs/{file.sha256}"
        (assembled / path).symlink_to(links[path])
    if snapshot.exists():
        if all(
            (snapshot / path).is_symlink() and str((snapshot / path).readlink()) == link for path, link in links.items()
        ):
            return
        snapshot.rename(partial / "damaged")
    assembled.rename(snapshot)
    sync_directory(snapshot.parent)


def _point(repository: Path, reference: str, commit: str, partial: Path) -> None:
    """Point a movable reference at a commit. The client reads the whole file as the commit: no newline."""
    write_new(partial / "reference", commit.encode())
    (partial / "reference").replace(repository / "refs" / reference)
    sync_directory(repository / "refs")


def _claim(repository: Path, version: str, commit: str, partial: Path) -> None:
    """Create a version's reference; a hard link never replaces one that exists."""
    write_new(partial / version, commit.encode())
    (repository / "refs" / version).hardlink_to(partial / version)
    sync_directory(repository / "refs")


def _versions(repository: Path) -> list[str]:
    """Versions whose snapshot is a release of ours, oldest first."""
    refs = repository / "refs"
    names = [path.name for path in refs.iterdir() if VERSION.match(path.name)] if refs.is_dir() else []
    return sorted((name for name in names if _is_ours(repository, name)), key=_number)


def _is_ours(repository: Path, version: str) -> bool:
    """False for what a stock client cached here of somebody else's; true for a release of ours, even a damaged one."""
    snapshot = snapshot_of(repository, _read_ref(repository, version) or "")
    return not snapshot.is_dir() or os.path.lexists(snapshot / PROVENANCE)


def _number(version: str) -> int:
    return int(version[1:])


def _next_version(repository: Path) -> str:
    return f"v{max((*map(_number, _versions(repository)), upkeep.last_removed(repository))) + 1}"


def _version_of(repository: Path, commit: str) -> str | None:
    return next((v for v in _versions(repository) if _read_ref(repository, v) == commit), None)


def _read_ref(repository: Path, reference: str) -> str | None:
    path = repository / "refs" / reference
    return path.read_text() if path.is_file() else None
