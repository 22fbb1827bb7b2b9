"""What a loopback Hub holds: whole trees of files, one a commit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any


@dataclass
class File:
    """One file of a tree; a large one is listed by SHA-256, a regular one by git's SHA-1."""

    content: bytes
    large: bool

    @property
    def oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    def row(self, path: str) -> dict[str, Any]:
        row: dict[str, Any] = {"type": "file", "path": path, "size": len(self.content), "oid": self.oid}
        if self.large:
            sha256 = hashlib.sha256(self.content).hexdigest()
            row["lfs"] = {"oid": sha256, "size": len(self.content), "pointerSize": 130}
        return row


@dataclass
class Repository:
    private: bool
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    """Commit → first line of its message."""
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return self.history[-1]

    def add(self, tree: dict[str, File]) -> str:
        listing = "".join(f"{path}{file.oid}" for path, file in sorted(tree.items()))
        commit = hashlib.sha1(f"{len(self.history)}{listing}".encode()).hexdigest()
        self.commits[commit] = tree
        self.history.append(commit)
        return commit

    def resolve(self, revision: str) -> str | None:
        known = {"main": self.head, **self.tags}
        return known.get(revision, revision if revision in self.commits else None)
