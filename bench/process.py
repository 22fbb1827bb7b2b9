"""Run one side of a comparison as a child process, and measure it from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """What the kernel and the clock say of a child and its own children."""

    seconds: float
    peak_bytes: int
    """Largest resident set of any process of the tree, mapped file pages included (`ru_maxrss`)."""
    cpu_seconds: float
    """Of all its cores, in its own code and in the kernel's."""


# A process inherits the peak of the one it was forked from, and a bench that has made a model is large. A process
# that has just begun is not.
LAUNCHER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(child.pid, 0)
found = [time.perf_counter() - start, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime]
open(sys.argv[1], "w").write(json.dumps(found))
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


def measured(module: str, *arguments: str | Path, log: Path) -> Measured:
    """Run `python -m module arguments…`; output goes to `log`.

    Raises:
        RuntimeError: the child failed; the message ends with the last lines of its log.
    """
    figures = log.with_suffix(".json")
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with log.open("wb") as sink:
        launched = [sys.executable, "-I", "-c", LAUNCHER, str(figures), *command]
        failed = subprocess.run(launched, stdout=sink, stderr=subprocess.STDOUT).returncode
    if failed:
        tail = "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command)} failed:\n{tail}")
    return Measured(*json.loads(figures.read_text("utf-8")))
