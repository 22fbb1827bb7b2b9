"""How long planning takes: a thousand manifests of five targets, and a run with nothing to do.

    python -m bench.plan [--manifests 1000]

Prints medians of five runs in fresh processes. The manifests name the demo's model and texts; nothing was built before
the first measurement, so every job is stale there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent


def seconds(*arguments: str) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "flows.cli.app", *arguments]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return time.perf_counter() - start


def median(*arguments: str, runs: int = 5) -> float:
    return statistics.median(seconds(*arguments) for _ in range(runs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifests", type=int, default=1000)
    count = parser.parse_args().manifests
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        room = Path(scratch, "room")
        shutil.copytree(ROOT / "manifests" / "demo", room)
        text = (room / "demo.yaml").read_text()
        paths = []
        for number in range(count):
            path = room / f"m{number}.yaml"
            path.write_text(text.replace("docstring-llama", f"model-{number}"))
            paths.append(str(path))
        home = ("--home", str(Path(scratch, "home")))
        cold = seconds("plan", *paths, "--json", *home)
        rows.append((f"plan, {count} manifests of 5 targets, first time", cold, 5.0))
        rows.append((f"plan, {count} manifests of 5 targets", median("plan", *paths, "--json", *home), 5.0))
        demo = str(room / "demo.yaml")
        first = seconds("run", demo, *home)
        rows.append(("run, everything to do", first, 180.0))
        rows.append(("run, nothing to do", median("run", demo, *home), 3.0))
    table = Table("what", "seconds", "at most", title="planning, median of five processes")
    for what, took, most in rows:
        table.add_row(what, f"{took:.2f}", f"{most:g}")
    Console().print(table)


if __name__ == "__main__":
    main()
