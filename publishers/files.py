"""Hashes and durable writes: what lands under its final name is whole, whatever kills the writer."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_oid_of(path: Path) -> str:
    """SHA-1 that git, and so the Hub's tree listing, gives a file stored as a regular blob."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_listed_as(path: Path, sha256: str, listed: str) -> bool:
    """Whether a file with this SHA-256 is what a Hub's tree lists: by SHA-256 when large, by git's SHA-1 when regular."""
    return listed == (sha256 if len(listed) == 64 else git_oid_of(path))


def copy_hashed(source: Path, target: Path) -> str:
    """Copy the bytes of `source` to the new file `target`, read-only; return the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(CHUNK):
            digest.update(chunk)
            writer.write(chunk)
        os.fchmod(writer.fileno(), 0o444)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def write_new(path: Path, content: bytes) -> None:
    """Write a new read-only file through to the disk."""
    with path.open("xb") as writer:
        writer.write(content)
        os.fchmod(writer.fileno(), 0o444)
        writer.flush()
        os.fsync(writer.fileno())


def link_or_copy(source: Path, target: Path) -> None:
    """Give `source` a second name; across devices, where it can have none, a copy."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy_hashed(source, target)


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove a directory of ours that may hold read-only files; one that is absent is fine."""
    if path.exists():
        shutil.rmtree(path)
