"""Run one side of a comparison as a child process, and measure it from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """What the kernel and the clock say of a child and its own children."""

    seconds: float
    peak_bytes: int
    """Largest resident set of any process of the tree, mapped file pages included (`ru_maxrss`)."""


def measured(module: str, *arguments: str | Path, log: Path) -> Measured:
    """Run `python -m module arguments…`; output goes to `log`.

    Raises:
        RuntimeError: the child failed; the message ends with the last lines of its log.
    """
    with log.open("wb") as sink:
        start = time.perf_counter()
        command = [sys.executable, "-m", module, *map(str, arguments)]
        child = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        tail = "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}:\n{tail}")
    return Measured(seconds, usage.ru_maxrss * 1024)
