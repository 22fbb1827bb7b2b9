"""The Prefect server of a run, and the settings every process of ours uses with Prefect.

Import this before anything of Prefect's: it reads its settings from the environment once.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


class ServerError(EnvironmentFault):
    """The run's own Prefect server did not come up."""


def apply_prefect_settings() -> None:
    """Put our settings into the environment, where it does not say otherwise."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


@contextmanager
def prefect_server(home: Path, *, patience: float = 90.0) -> Iterator[str]:
    """Yield the address of a Prefect API: the one in PREFECT_API_URL, or that of a server that ends with this process."""
    apply_prefect_settings()
    if address := os.environ.get("PREFECT_API_URL"):
        yield address
        return
    state = home / "prefect"
    state.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/api"
    environment = {**without_tokens(os.environ), "PREFECT_HOME": str(state), "QUANTMILL_PARENT": str(os.getpid())}
    environment |= {"PREFECT_API_URL": address, "PREFECT_SERVER_LOGGING_LEVEL": "ERROR"}
    command = [
        sys.executable,
        "-P",
        str(_LAUNCHER),
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    log = state / "server.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )
    try:
        _wait_for(address, server, log, patience)
        os.environ |= {"PREFECT_API_URL": address, "PREFECT_HOME": str(state)}
        yield address
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


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
    tail = " | ".join(log.read_text(errors="replace").splitlines()[-3:])
    raise ServerError(
        f"the Prefect server of this run did not come up at {address} (its log, {log}, ends: {tail or 'nothing'}): set "
        "PREFECT_API_URL to use a server of your own"
    )
