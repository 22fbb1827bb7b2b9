"""Identity: what a step is made of, as canonical JSON, and its sha256.

An input that has no single canonical form is refused rather than guessed at: a permissive fallback would let the same
work get two keys, or two works get one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flows.files.cache import keep, kept


def canonical(value: Any) -> bytes:
    """Return `value` as JSON with sorted keys and no spaces. Raises TypeError for what JSON does not hold exactly."""
    _refuse_odd_keys(value)
    return _encoder.encode(value).encode()


def fingerprint(value: Any) -> str:
    """Return the sha256 of `canonical(value)`, as 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _no_form(value: Any) -> Any:
    raise TypeError(f"{value!r} ({type(value).__name__}) has no canonical form; give its text, numbers or content hash")


def _refuse_odd_keys(value: Any) -> None:
    """JSON would turn 1 and "1" into the same key."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key is made of JSON objects with text keys; this one has {key!r}")
            _refuse_odd_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_odd_keys(item)


_encoder = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_no_form
)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


Marks = dict[str, tuple[int, int, int, int, str]]
"""By path: size, modification and change time, inode, and the sha256 that goes with them."""


class ContentHashes:
    """File hashes remembered by path, size, modification and change time and inode, so that planning does not read gigabytes.

    A file rewritten in place within the clock's resolution and with its times put back would go unseen here; every step
    that reads an artifact of the store checks the bytes again.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known = kept(memory, Marks) or {}
        self._learned: Marks = {}

    def file(self, path: Path) -> str:
        """Return the sha256 of a file's bytes."""
        known = self._known.get(str(path))
        if known and known[:4] == _mark(path):
            return known[4]
        digest = file_sha256(path)
        self.trust(path, digest)
        return digest

    def trust(self, path: Path, sha256: str) -> None:
        """Take a file's hash from whoever has just read or written it."""
        self._known[str(path)] = self._learned[str(path)] = (*_mark(path), sha256)

    def tree(self, root: Path, files: Iterable[Path]) -> str:
        """Return one sha256 over names and contents of `files`, which lie below `root`."""
        return fingerprint({str(path.relative_to(root)): self.file(path) for path in files})

    def save(self) -> None:
        """Keep what was learned for the next time, beside what other processes did."""
        if self._learned:
            keep(self._memory, (kept(self._memory, Marks) or {}) | self._learned)
        self._learned = {}


def _mark(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
