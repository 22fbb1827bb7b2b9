"""Who is told how far the work is: nobody by default, the terminal under `quantmill run`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Watcher(Protocol):
    """Told of steps as they start, move and end."""

    def started(self, label: str) -> None:
        """Say that a step began."""

    def moved(self, label: str, what: str, done: int, total: int) -> None:
        """Say how far it is, and at what."""

    def ended(self, label: str, note: str, *, ok: bool) -> None:
        """Say that it ended, and how."""

    def waiting(self, holder: str) -> None:
        """Say that this run waits for another process, at once and then from time to time."""


class Nobody:
    """Watches nothing."""

    def started(self, label: str) -> None:
        """Ignore."""

    def moved(self, label: str, what: str, done: int, total: int) -> None:
        """Ignore."""

    def ended(self, label: str, note: str, *, ok: bool) -> None:
        """Ignore."""

    def waiting(self, holder: str) -> None:
        """Ignore."""


_watcher: Watcher = Nobody()


def watcher() -> Watcher:
    """Return whoever watches this process."""
    return _watcher


@contextmanager
def watched_by(who: Watcher) -> Iterator[None]:
    """Have `who` told of every step of this process. One at a time: the steps themselves run one at a time."""
    global _watcher
    before, _watcher = _watcher, who
    try:
        yield
    finally:
        _watcher = before
