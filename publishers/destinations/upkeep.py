"""Upkeep of the local hub: what is wrong with a version, mending it from content at hand, taking one away.

A hub is read here as it lies on the disk (`publishers.destinations.local`): a version is a file of `refs` that names a
commit, a commit is a directory of links, and a link leads to a blob that is called by its hash.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from publishers.files import copy_hashed, remove_tree, sha256_of, sync_directory, write_new

PINNED = "rolled-back"
"""File of a repository that holds the commit a rollback put back: what is made again does not take its place."""
REMOVED = "removed"
"""File of a repository that holds the highest version ever taken away: no version's name is used twice."""


def damage(repository: Path, version: str, commit: str, files: Mapping[str, str], hashed: Callable[[Path], str]) -> str:
    """Say what is wrong with a version, in one sentence, or nothing when it is whole.

    `files` is path → SHA-256 of all that was released; `hashed` returns a file's SHA-256, from memory if it can.
    """
    reference = repository / "refs" / version
    if not reference.is_file() or reference.read_text() != commit:
        return f"refs/{version} does not name the commit {commit[:12]}."
    for path, sha256 in sorted(files.items()):
        link, blob = repository / "snapshots" / commit / path, repository / "blobs" / sha256
        if not link.is_symlink() or os.path.realpath(link) != os.path.realpath(blob):
            return f"{path} is gone, or does not lead to its content."
        if not blob.is_file():
            return f"the content of {path} is gone."
        if hashed(blob) != sha256:
            return f"{path} has another content than was released."
    return ""


def mend(
    repository: Path, version: str, commit: str, files: Mapping[str, str], find: Callable[[str], Path | None]
) -> list[str]:
    """Put back what a version lacks; return what is still wrong: files whose content `find` does not know either.

    `find` returns a file with a SHA-256. Whoever calls this holds the repository for writing.
    """
    for part in ("blobs", "refs", "snapshots"):
        (repository / part).mkdir(parents=True, exist_ok=True)
    lost = []
    for path, sha256 in sorted(files.items()):
        if not _has_blob(repository, sha256, find):
            lost.append(path)
            continue
        link = repository / "snapshots" / commit / path
        target = f"{'../' * (2 + path.count('/'))}blobs/{sha256}"
        if not link.is_symlink() or os.readlink(link) != target:  # noqa: PTH115
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    if lost:
        return lost
    reference = repository / "refs" / version
    if not reference.is_file() or reference.read_text() != commit:
        reference.unlink(missing_ok=True)
        write_new(reference, commit.encode())
    for changed in ("blobs", "refs", f"snapshots/{commit}"):
        sync_directory(repository / changed)
    return []


def _has_blob(repository: Path, sha256: str, find: Callable[[str], Path | None]) -> bool:
    blob = repository / "blobs" / sha256
    if blob.is_file() and sha256_of(blob) == sha256:
        return True
    source = find(sha256)
    if source is None:
        return False
    scratch = blob.with_name(f".{sha256}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    try:
        if copy_hashed(source, scratch) != sha256:
            return False
        scratch.replace(blob)
        return True
    finally:
        scratch.unlink(missing_ok=True)


def main_of(repository: Path) -> str | None:
    """Return the commit that users get who name no version, or None."""
    reference = repository / "refs" / "main"
    return reference.read_text() if reference.is_file() else None


def point_main_at(repository: Path, commit: str) -> None:
    """Make a commit what users get who name no version. Whoever calls this holds the repository for writing."""
    scratch = repository / "refs" / f".main.{os.getpid()}"
    scratch.unlink(missing_ok=True)
    write_new(scratch, commit.encode())
    scratch.replace(repository / "refs" / "main")
    sync_directory(repository / "refs")


def version_of(repository: Path, commit: str) -> str | None:
    """Return the version that names a commit, or None."""
    named = (path for path in sorted((repository / "refs").glob("v*")) if path.read_text() == commit)
    return next((path.name for path in named), None)


def is_pinned(repository: Path) -> bool:
    """Whether `main` is what a rollback made it: it stays so until something new is published."""
    pin = repository / PINNED
    return pin.is_file() and pin.read_text() == main_of(repository)


def take_away(repository: Path, versions: list[str]) -> int:
    """Remove versions, and what only they use; return the bytes freed. `main` goes to the newest version left.

    A name that was taken away is not given again. Whoever calls this holds the repository for writing.
    """
    highest = max((*(int(version[1:]) for version in versions), last_removed(repository)))
    (repository / REMOVED).write_text(str(highest))
    gone = {(repository / "refs" / version).read_text() for version in versions}
    for version in versions:
        (repository / "refs" / version).unlink()
    left = sorted((repository / "refs").glob("v*"), key=lambda path: int(path.name[1:]))
    main = repository / "refs" / "main"
    if main.is_file() and main.read_text() in gone - {path.read_text() for path in left}:
        main.unlink()
        if left:
            write_new(main, left[-1].read_bytes())
    return prune(repository)


def last_removed(repository: Path) -> int:
    """Return the number of the highest version that was taken away, or 0."""
    text = (repository / REMOVED).read_text() if (repository / REMOVED).is_file() else ""
    return int(text) if text.isdigit() else 0


def prune(repository: Path, *, really: bool = True) -> int:
    """Remove commits that no reference names, blobs that no commit uses and work of killed publishers; return the bytes."""
    named = {path.read_text() for path in (repository / "refs").glob("*") if path.is_file()}
    snapshots = list((repository / "snapshots").glob("*"))
    dead = [path for path in snapshots if path.name not in named]
    used = {
        Path(os.readlink(link)).name  # noqa: PTH115
        for path in snapshots
        if path.name in named
        for link in path.rglob("*")
        if link.is_symlink()
    }
    blobs = [path for path in (repository / "blobs").glob("*") if path.name not in used]
    freed = sum(path.stat().st_size for path in blobs)
    partial = repository / ".partial"
    freed += sum(path.lstat().st_size for path in partial.rglob("*") if not path.is_dir())
    if really:
        for path in (*dead, partial):
            remove_tree(path)
        for path in blobs:
            path.unlink()
    return freed
