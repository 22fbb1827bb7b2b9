"""The parent's side of a step: run a door in a process of its own, follow it, and say how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import BaseModel

from catalog.errors import FAULTS, Fault, KilledFault, StepFault
from catalog.foreign_errors import last_words
from catalog.interpreters import ENGINES_VARIABLE
from catalog.secrets import without_tokens
from flows.execution import warm
from flows.execution.log import StepLog
from flows.machine_memory import kills_for_memory

_LAUNCHER = Path(__file__).with_name("launch.py")
_PATH = str(_LAUNCHER.parents[2])
# Nothing in a child may reach out, ask a hub for something newer than what was fetched, or phone home.
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONHASHSEED": "0",
}
_SWITCHES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")

Network = Literal["none", "read", "token"]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Ended:
    """A step that finished."""

    seconds: float
    cpu_seconds: float
    """Of its process and of that one's children, on all cores."""
    peak_memory_bytes: int


def run(
    module: str,
    request: BaseModel,
    scratch: Path,
    *,
    progress: Progress,
    network: Network = "none",
    engines: Path | None = None,
    imports: bool = False,
) -> Ended:
    """Run `python -m module REQUEST.json OUT` in a child and wait for it.

    Writes `scratch/request.json` and `scratch/log.txt`; the door writes below `scratch/out`. A step runs offline
    unless it may use the `network`, and sees no token of the Hub unless that is why. It may start the
    interpreters installed in `engines`. One that `imports` the heavy libraries is forked from a process that has them, if
    it runs offline. Raises the kind of Fault that the child ended with.
    """
    # Sorted: cards list things in the order in which they are told of them.
    (scratch / "request.json").write_text(json.dumps(request.model_dump(mode="json"), indent=1, sort_keys=True))
    environment = dict(os.environ) if network == "token" else without_tokens(os.environ)
    environment |= {"QUANTMILL_PARENT": str(os.getpid()), "PYTHONPATH": _PATH}
    if engines:
        environment[ENGINES_VARIABLE] = str(engines)
    environment |= _OFFLINE if network == "none" else {name: os.environ.get(name, "0") for name in _SWITCHES}
    log = scratch / "log.txt"
    arguments = [module, str(scratch / "request.json"), str(scratch / "out")]
    start, kills = time.perf_counter(), kills_for_memory()
    with StepLog(log) as file:
        shared = imports and network == "none"
        child = (warm.fork(arguments, environment) if shared else None) or _started(arguments, environment)
        assert child.stdout and child.stderr
        try:
            file.follow(child.stderr)
            told = _follow(child.stdout, file, progress)
            code = child.wait()
        finally:
            if child.returncode is None:
                child.kill()
                child.wait()
            child.stdout.close()
    if code != 0 or "error" in told:
        if error := told.get("error"):
            raise FAULTS[error["fault"]](error["message"], log=log)
        raise _how_it_died(code, log, kills_for_memory() > kills)
    if not (scratch / "out" / "result.json").is_file():
        raise StepFault(f"{module} ended without a result; its log is {log}", log=log)
    return Ended(
        seconds=round(time.perf_counter() - start, 3),
        cpu_seconds=told.get("cpu_seconds", 0.0),
        peak_memory_bytes=told.get("peak_memory_bytes", 0),
    )


def _started(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command, pipe = [sys.executable, "-P", str(_LAUNCHER), *arguments], subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, env=environment)


def _follow(output: IO[bytes], log: StepLog, progress: Progress) -> dict[str, Any]:
    """Pass progress on until the child closes its output; return what its launcher told, and log everything else."""
    told: dict[str, Any] = {}
    for line in output:
        event = _event(line)
        if isinstance(event.get("progress"), dict):
            moved = event["progress"]
            progress(str(moved["what"]), int(moved["done"]), int(moved["total"]))
        elif isinstance(event.get("error"), dict) or isinstance(event.get("peak_memory_bytes"), int):
            told |= event
        else:
            log.write(line)
    return told


def _event(line: bytes) -> dict[str, Any]:
    if not line.startswith(b"{"):
        return {}
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _how_it_died(code: int, log: Path, for_memory: bool) -> Fault:
    """Say how a process ended that said nothing itself; nothing in it can have killed it with signal 9."""
    tail = " | ".join(log.read_text(errors="replace").splitlines()[-3:])
    kind = KilledFault if code == -signal.SIGKILL else last_words(tail)
    if code == -signal.SIGKILL and for_memory:
        why = "was killed by the kernel because memory ran out: compare `quantmill plan` with `free -h`"
    elif code == -signal.SIGKILL:
        why = (
            "was killed (signal 9), and the kernel counts no process that it ended for want of memory: a person, a "
            "supervisor or a container's limit did"
        )
    elif code < 0:
        why = f"was ended by signal {-code} ({signal.Signals(-code).name})"
    else:
        why = f"ended with code {code}"
    return kind(f"the step's process {why}; its log is {log}" + (f" and ends: {tail}" if tail else ""), log=log)
