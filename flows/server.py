"""The Prefect server of a run, and the settings every process of ours uses with Prefect.

Import this before anything of Prefect's: it reads its settings from the environment once.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import quote

from filelock import FileLock, Timeout

from catalog.errors import EnvironmentFault
from catalog.secrets import without_tokens

_LAUNCHER = Path(__file__).parent / "execution" / "launch.py"
SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_CLI_PROMPT": "false",
}
"""An ephemeral server would outlive a killed run; a lease kept in memory would end a task when the server restarts."""


_LEAST = 1 << 20
"""Bytes; with less left a database is not made, and a log may be empty."""


class ServerError(EnvironmentFault):
    """The run's own Prefect server did not come up."""


def apply_prefect_settings() -> None:
    """Put our settings into the environment, where it does not say otherwise."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


@contextmanager
def prefect_server(home: Path, *, patience: float = 90.0) -> Iterator[str]:
    """Yield the address of a Prefect API: the one in PREFECT_API_URL, or that of a server that ends with this process.

    Each such server has a database of its own, a copy of one that was migrated before: SQLite does not take two.
    """
    apply_prefect_settings()
    if address := os.environ.get("PREFECT_API_URL"):
        yield address
        return
    with _own_directory(home / "prefect") as own, socket.socket() as free:
        template = own.parent / f"{version('prefect')}.db"
        if _is_whole(template):
            shutil.copy(template, own / "prefect.db")
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        address = f"http://127.0.0.1:{port}/api"
        environment = {**without_tokens(os.environ), "PREFECT_HOME": str(own), "QUANTMILL_PARENT": str(os.getpid())}
        environment |= {"PREFECT_API_URL": address, "PREFECT_SERVER_LOGGING_LEVEL": "ERROR"}
        program = [sys.executable, "-P", str(_LAUNCHER), "prefect", "server", "start"]
        log = own / "server.log"
        with log.open("wb") as file:
            server = subprocess.Popen(
                [*program, "--host", "127.0.0.1", "--port", str(port)],
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        try:
            _wait_for(address, server, log, patience)
            _keep(own / "prefect.db", template)
            os.environ |= {"PREFECT_API_URL": address, "PREFECT_HOME": str(own)}
            yield address
        finally:
            os.environ.pop("PREFECT_API_URL", None)
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@contextmanager
def _own_directory(state: Path) -> Iterator[Path]:
    """Yield a directory for the length of a run, after removing those of runs that were killed."""
    state.mkdir(parents=True, exist_ok=True)
    with FileLock(state / "lock"):  # a moment only
        for other in state.glob("run-*"):
            with suppress(Timeout), FileLock(other / "lock", blocking=False):  # the kernel freed it with its holder
                shutil.rmtree(other)
        own = Path(mkdtemp(dir=state, prefix="run-"))
        alive = FileLock(own / "lock")
        alive.acquire()
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        alive.release()


def _is_whole(database: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro&immutable=1", uri=True)) as opened:
            return bool(opened.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.Error:
        return False


def _keep(database: Path, template: Path) -> None:
    """Keep a copy of a database that was just migrated, which takes longer than all else of a start."""
    if _is_whole(template):
        return
    scratch = database.with_name("template.db")
    with closing(sqlite3.connect(database)) as live, closing(sqlite3.connect(scratch)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
    scratch.replace(template)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path, patience: float) -> None:
    end = time.monotonic() + patience
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            with direct.open(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    log = log.replace(log.parents[1] / "server.log")  # what is in the run's own directory goes with it
    if shutil.disk_usage(log.parent).free < _LEAST:
        raise ServerError(
            f"the disk of {log.parent} is full, and the Prefect server of this run keeps its database there: free some space, "
            "put the store on another disk with --home, or set PREFECT_API_URL to use a server of your own"
        )
    tail = " | ".join(log.read_text(errors="replace").splitlines()[-3:])
    raise ServerError(
        f"the Prefect server of this run did not come up at {address} (its log, {log}, ends: {tail or 'nothing'}): set "
        "PREFECT_API_URL to use a server of your own"
    )
