"""Four runs at once on one store, of the same and of different manifests, killed at random: each release once, nothing damaged.

    python -m bench.contention [--kills 20] [--seed 1]

Each run starts a Prefect server of its own, on a store that is new. A killed run is started again at once; when all
kills are done, all runs are left to end. Then every entry of the store and every release is read again, and each run
that waited for another must have said so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.execution.steps import known
from flows.planning import kinds
from flows.step import Kind
from flows.store import Store
from publishers.destinations.local import Local
from publishers.verify import verify

ROOT = Path(__file__).parent.parent
TARGETS = {"one": "  int8: w8-rtn\n", "two": "  int4: w4-rtn-g64\n  awq: w4-awq-asym-g64\n"}


def manifests(room: Path) -> list[Path]:
    """Two manifests of one model and one text, that release under different names."""
    shutil.copytree(ROOT / "manifests" / "demo", room)
    text = (room / "demo.yaml").read_text()
    head, rest = text.split("targets:")
    gates = rest[rest.index("\ngates:") :]
    paths = []
    for name, targets in TARGETS.items():
        path = room / f"{name}.yaml"
        path.write_text(f"{head}targets:\n{targets}{gates.replace('namespace: demo', f'namespace: {name}')}")
        paths.append(path)
    (room / "demo.yaml").unlink()
    return paths


def start(manifest: Path, home: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "flows.cli.app", "run", str(manifest), "--home", str(home)]
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env={**environment, "PYTHONPATH": str(ROOT)})


def contend(paths: list[Path], home: Path, logs: Path, kills: int, dice: random.Random) -> tuple[list[int], int]:
    """Run all manifests until each ended by itself after the last kill; return the exit codes, and the kills done."""
    running = {n: start(path, home, logs / f"{n}.log") for n, path in enumerate(paths)}
    done, codes = 0, {}
    while running:
        time.sleep(dice.uniform(0.2, 12.0) if done < kills else 0.5)
        if done < kills:
            victim = dice.choice(list(running))
            if running[victim].poll() is None:
                running[victim].send_signal(signal.SIGKILL)
                running[victim].wait()
                done += 1
            running[victim] = start(paths[victim], home, logs / f"{victim}.log")
        for number, process in list(running.items()):
            if done >= kills and process.poll() is not None:
                codes[number] = running.pop(number).returncode
    return [codes[number] for number in sorted(codes)], done


def faults_of(store: Store) -> list[str]:
    """Say what is not as one undisturbed run would have left it."""
    faults = []
    every: list[Kind] = [kind for kind in vars(kinds).values() if isinstance(kind, Kind)]
    for kind in every:
        for path in (store.home / "store" / kind.name).glob("*"):
            if known(store, kind.at(path.name)) is None:
                faults.append(f"{kind.name} {path.name[:12]} is not whole")
    listed = [(release.name, release.version) for release in Local("", store.home).releases()]
    wanted = {
        f"{name}/docstring-llama-{line.split(':')[0].strip()}"
        for name, text in TARGETS.items()
        for line in text.splitlines()
    }
    if sorted(listed) != sorted((name, "v1") for name in wanted):
        faults.append(f"the local hub holds {listed}")
    for name, version in listed:
        verify(Local("", store.home), name, version)
    if left := [path.name for path in (store.home / "scratch").iterdir() if not path.name.startswith("together-")]:
        faults.append(f"scratch holds {left}")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        paths = manifests(Path(scratch, "room")) * 2
        home, logs = Path(scratch, "home"), Path(scratch, "logs")
        logs.mkdir()
        began = time.perf_counter()
        codes, kills = contend(paths, home, logs, arguments.kills, random.Random(arguments.seed))
        said = [log.read_text(errors="replace") for log in sorted(logs.iterdir())]
        waits = [len(re.findall(r"waiting for process \d+ on \S+ \(", text)) for text in said]
        table = Table("what", "seen", title=f"four runs at once on one new store, seed {arguments.seed}")
        table.add_row("killed", str(kills))
        table.add_row("exit codes of the runs that were left to end", json.dumps(codes))
        table.add_row("waits that each run announced, with process and command", json.dumps(waits))
        table.add_row("what is not as one run would have left it", "; ".join(faults_of(Store(home))) or "nothing")
        table.add_row("seconds", f"{time.perf_counter() - began:.0f}")
        Console().print(table)
        if any(codes):
            print("\n".join(text[-2000:] for text in said))


if __name__ == "__main__":
    main()
