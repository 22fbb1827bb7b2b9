"""The local hub: `home/hub` in the layout of huggingface_hub's cache, so stock tools load a release by name, offline.

A repository is `models--<namespace>--<name>/` with `blobs/<sha256>`, `snapshots/<commit>/<path>` (links to blobs),
`refs/main` and `refs/vN`. Two things hold at every moment, whatever was killed when: a reference names a whole
snapshot, and a version never moves. `refs/main` is where new versions appear and what a rollback moves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict

from publishers.destinations.upkeep import PINNED, is_pinned, last_removed
from publishers.errors import PublishError
from publishers.files import link_or_copy, remove_tree, sha256_of, sync_directory, write_new
from publishers.progress import progress
from publishers.provenance import COMMIT, PROVENANCE, VERSION, Provenance, read_provenance
from publishers.request import Place
from publishers.stage import Staged


class Release(BaseModel):
    """One version in the local hub."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    commit: str
    current: bool
    """Whether this is what `main` points at: what a user gets who names no version."""
    directory: Path
    """The snapshot."""

    @cached_property
    def provenance(self) -> Provenance:
        """Its `quantmill.json`, read when it is asked for. Raises PublishError when it is damaged."""
        return read_provenance(self.directory)


def publish(staged: Staged, home: Path) -> Place:
    """Put a release into the local hub. Content that has a version keeps it, and is `main` again.

    It does not become `main` against a rollback: only what is new does.

    Safe to kill at any moment and to repeat; two publishers of one name take turns.
    """
    repository = repository_of(home, staged.name)
    with locked(home, staged.name):
        partial = _fresh_partial(repository)
        for part in ("blobs", "refs", "snapshots"):
            (repository / part).mkdir(exist_ok=True)
        _store_blobs(staged, repository / "blobs", partial)
        _store_snapshot(staged, repository, partial)
        version = _version_of(repository, staged.commit)
        if version is None:
            version = _next_version(repository)
            _point(repository, "main", staged.commit, partial)
            _claim(repository, version, staged.commit, partial)
        elif _read_ref(repository, "main") != staged.commit and not is_pinned(repository):
            _point(repository, "main", staged.commit, partial)
        remove_tree(partial)
    snapshot = snapshot_of(repository, staged.commit)
    return Place(to="local", version=version, commit=staged.commit, url=snapshot.relative_to(home).as_posix())


def rollback(home: Path, name: str, version: str) -> Release:
    """Make an earlier version what `main` points at. No version moves; `main` stays so until something new is published.

    Raises:
        PublishError: there is no such release or version.
    """
    release = find(home, name, version)
    repository = repository_of(home, name)
    with locked(home, name):
        partial = _fresh_partial(repository)
        _point(repository, "main", release.commit, partial)
        write_new(partial / PINNED, release.commit.encode())
        (partial / PINNED).replace(repository / PINNED)
        remove_tree(partial)
    return find(home, name, version)


def releases(home: Path) -> list[Release]:
    """Every version of every release in the local hub, by name, oldest version first."""
    found = []
    for repository in sorted((home / "hub").glob("models--*--*")):
        name = repository.name.removeprefix("models--").replace("--", "/", 1)
        found += [_release(repository, name, version) for version in _versions(repository)]
    return found


def find(home: Path, name: str, version: str | None = None) -> Release:
    """The release `name` at `version`; without one, at `main`.

    Raises:
        PublishError: there is no such release or version; names the nearest or the known ones.
    """
    repository = repository_of(home, name)
    known = _versions(repository)
    if not known:
        names = sorted({release.name for release in releases(home)})
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it holds {len(names)} others."
        raise PublishError(
            f"The local hub holds no release called {name!r}; {hint} `quantmill list` shows all of them with their versions."
        )
    main = _read_ref(repository, "main")
    wanted = version or _version_of(repository, main)
    if wanted is None:
        raise PublishError(
            f"main of {name} in the local hub is at {str(main)[:12]}, which no version points at: publishing was cut short, or "
            f"another program moved it. Run again, put a version back with `quantmill rollback {name}@{known[-1]}`, or name "
            f"one; it has {', '.join(known)}."
        )
    if wanted not in known:
        raise PublishError(f"{name} has no version {wanted!r} in the local hub. It has {', '.join(known)}.")
    return _release(repository, name, wanted)


def repository_of(home: Path, name: str) -> Path:
    """Directory of a release's repository, whether it exists or not."""
    return home / "hub" / f"models--{name.replace('/', '--')}"


def snapshot_of(repository: Path, commit: str) -> Path:
    """Directory of a commit's files, whether it exists or not."""
    return repository / "snapshots" / commit


@contextmanager
def locked(home: Path, name: str) -> Iterator[None]:
    """Hold the repository for writing. The kernel frees the lock of a killed holder."""
    locks = home / "hub" / ".locks" / repository_of(home, name).name
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / "publish.lock"):
        yield


def _fresh_partial(repository: Path) -> Path:
    """Empty directory for what is being written; what a killed publisher left there goes first."""
    partial = repository / ".partial"
    remove_tree(partial)
    partial.mkdir(parents=True)
    return partial


def _store_blobs(staged: Staged, blobs: Path, partial: Path) -> None:
    """Store each content once under its hash. A blob that is there is read again, and replaced when it is damaged."""
    for done, (path, file) in enumerate(sorted(staged.files.items())):
        progress(f"publish {path} to the local hub", done, len(staged.files))
        blob = blobs / file.sha256
        if not blob.exists() or sha256_of(blob) != file.sha256:
            link_or_copy(staged.directory / path, partial / file.sha256)
            (partial / file.sha256).replace(blob)
    sync_directory(blobs)


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
    return f"v{max((*map(_number, _versions(repository)), last_removed(repository))) + 1}"


def _version_of(repository: Path, commit: str | None) -> str | None:
    return next((v for v in _versions(repository) if commit and _read_ref(repository, v) == commit), None)


def _read_ref(repository: Path, reference: str) -> str | None:
    path = repository / "refs" / reference
    return path.read_text() if path.is_file() else None


def _release(repository: Path, name: str, version: str) -> Release:
    commit = _read_ref(repository, version) or ""
    if not COMMIT.match(commit):
        raise PublishError(
            f"{name}@{version} in the local hub points at {commit!r}, which is no commit: its file refs/{version} was "
            "changed. Remove that file and publish the release again."
        )
    return Release(
        name=name,
        version=version,
        commit=commit,
        current=_read_ref(repository, "main") == commit,
        directory=snapshot_of(repository, commit),
    )
