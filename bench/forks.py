"""Work in processes forked from one that has imported everything, each with a limit of time."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.milled import HOW, OTHERS, Row, mill

LIMIT_S = 120
"""Seconds of a processor that a type may take."""


def forked(work: Callable[[], Iterator[Row]], limit: int, recipes: tuple[str, ...]) -> Callable[[], Row]:
    """Start work in a process of its own; the returned function waits for what it told last."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        with os.fdopen(write, "w") as pipe:
            for row in work():
                pipe.write(json.dumps(row) + "\n")
                pipe.flush()
        os._exit(0)
    os.close(write)

    def told() -> Row:
        with os.fdopen(read) as pipe:
            lines = [line for line in pipe.read().split("\n") if line]
        _, status, usage = os.wait4(pid, 0)
        row: Row = json.loads(lines[-1]) if lines else {"outcomes": {}}
        code = os.waitstatus_to_exitcode(status)
        if code:
            ended = f"it took over {limit} s" if code == -signal.SIGXCPU else f"its process ended with {code}"
            row["outcomes"] |= {n: {"outcome": "broken", "why": ended} for n in recipes if n not in row["outcomes"]}
        return row | {"seconds": round(usage.ru_utime + usage.ru_stime, 1)}

    return told


def run_all(
    names: list[tuple[str, str]], recipes: tuple[str, ...], workers: int, scratch: Path
) -> Iterator[tuple[str, Row]]:
    """Yield what became of each kind and type, in order."""
    started: list[tuple[str, Path, Callable[[], Row]]] = []
    left = list(names)
    while left or started:
        while left and len(started) < workers:
            kind, model_type = left.pop(0)
            directory = Path(tempfile.mkdtemp(dir=scratch))
            own = tuple(name for name in recipes if name in HOW or kind in OTHERS[name][0])
            job = forked(partial(mill, kind, model_type, directory, own), LIMIT_S, own)
            started.append((f"{kind}/{model_type}", directory, job))
        name, directory, told = started.pop(0)
        row = told()
        shutil.rmtree(directory, ignore_errors=True)
        yield name, row
