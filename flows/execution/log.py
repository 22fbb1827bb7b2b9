"""The log of a step: what its process writes, line by line, without a secret."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import IO, Self

from catalog.secrets import scrub_bytes

_PATIENCE = 5.0
"""Seconds: a process that outlives the step may hold its standard error open for ever."""


class StepLog:
    """A file that is added to. What goes wrong while writing it is let go: the step itself tells of a full disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._followers: list[Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for follower in self._followers:
            follower.join(_PATIENCE)
        self._file.close()

    def write(self, line: bytes) -> None:
        """Add a line, or several."""
        with suppress(OSError, ValueError):
            self._file.write(scrub_bytes(line))

    def follow(self, pipe: IO[bytes]) -> None:
        """Add every line that comes out of a pipe until it is closed, in a thread of its own."""

        def copy() -> None:
            with pipe:
                for line in pipe:
                    self.write(line)

        follower = Thread(target=copy, daemon=True)
        follower.start()
        self._followers.append(follower)
