"""The lock under which heavy steps run one at a time, and what those who wait for it are told."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from flows.errors import UsageError
from flows.execution.progress import watcher
from flows.files.cache import keep, kept
from flows.store import Store

log = logging.getLogger(__name__)
AGAIN = 30.0
"""Seconds between two words of one wait."""
LOOK = 1.0
"""Seconds between two looks at who holds the lock."""


class Holder(BaseModel):
    """Who holds the lock: `HOME/heavy.json`, for whoever waits to read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pid: int
    host: str
    command: str
    doing: str
    since: datetime

    def __str__(self) -> str:
        since = self.since.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        return f"process {self.pid} on {self.host} ({self.command}), at {self.doing} since {since}"


@contextmanager
def heavy(store: Store, doing: str) -> Iterator[None]:
    """Hold the lock of a store. The kernel frees it when its holder dies; whoever waits is told at once for whom."""
    store.home.mkdir(parents=True, exist_ok=True)
    lock, signature = FileLock(store.home / "heavy.lock"), store.home / "heavy.json"
    _acquire(lock, signature)
    try:
        _sign(signature, doing)
        yield
    finally:
        signature.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, signature: Path) -> None:
    try:
        lock.acquire(blocking=False)
        return
    except Timeout:
        pass
    tell, told, silent = watcher(), "", 0.0
    while True:
        holder = str(_holder(signature) or "another process")
        if holder != told or silent >= AGAIN:
            log.warning("waiting for %s", holder)
            tell.waiting(holder)
            told, silent = holder, 0.0
        try:
            lock.acquire(timeout=LOOK)
            return
        except Timeout:
            silent += LOOK


def _sign(signature: Path, doing: str) -> None:
    program = [Path(sys.argv[0]).name, *sys.argv[1:]]
    holder = Holder(
        pid=os.getpid(),
        host=socket.gethostname(),
        command=shlex.join(program),
        doing=doing,
        since=datetime.now().astimezone(),
    )
    keep(signature, holder)


def _holder(signature: Path) -> Holder | None:
    """Return who signed last, or None if that one has just let go or died."""
    return kept(signature, Holder)


@contextmanager
def at_work(store: Store) -> Iterator[None]:
    """Say that this process runs on a store, between its steps as well: `HOME/runs/<pid>.lock`."""
    runs = store.home / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    signature = runs / f"{os.getpid()}.json"
    with FileLock(signature.with_suffix(".lock")):
        _sign(signature, "its steps")
        try:
            yield
        finally:
            signature.unlink(missing_ok=True)
            signature.with_suffix(".lock").unlink(missing_ok=True)


def refuse_while_others_work(store: Store) -> None:
    """Refuse what would take from under a run what it is about to read. Raises UsageError, naming the run."""
    for lock in (store.home / "runs").glob("*.lock"):
        try:
            with FileLock(lock, blocking=False):
                lock.unlink(missing_ok=True)  # of a run that was killed
                lock.with_suffix(".json").unlink(missing_ok=True)
        except Timeout:
            raise UsageError(
                f"{_holder(lock.with_suffix('.json')) or 'another process'} runs on {store.home}: wait until it is through"
            ) from None
