"""SIGKILL at random moments: the next run completes, redoes at most the step that was running, and gives the same bytes."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.flows.conftest import ROOT, quantmill, room

pytestmark = pytest.mark.xdist_group("nights")
KILLS = 20


def contents(home: Path) -> dict[str, str]:
    """Hash of every artifact and of everything in the local hub, links resolved, but locks and leftovers."""
    roots = [
        home / "store" / "quantize",
        *(home / "hub").glob("models--*/snapshots"),
        *(home / "hub").glob("models--*/refs"),
    ]
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    kept = [path for path in files if path.name not in ("record.json", "log.txt", "request.json")]
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def records(home: Path) -> dict[str, int]:
    return {str(path.parent.relative_to(home)): path.stat().st_mtime_ns for path in home.glob("store/*/*/record.json")}


def kill_after(seconds: float, manifest: Path, home: Path) -> bool:
    """Start a run in a process group of its own; kill the run itself. Return whether it was still running."""
    command = [sys.executable, "-m", "flows.cli.app", "run", str(manifest), "--home", str(home)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        run.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        children = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(signal.SIGKILL)
        run.wait()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == [], "a child outlived the run that was killed"
        return True


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_killed_at_twenty_random_moments_it_ends_as_if_nothing_had_happened(prefect: str, tmp_path: Path) -> None:
    manifest = room(tmp_path)
    # Two targets made in one pass, one of them calibrated: every kind of step, in half the time.
    text = manifest.read_text()
    kept = [line for line in text.splitlines() if not line.startswith(("  int4:", "  nf4:", "  ov-int4:"))]
    manifest.write_text("\n".join(kept) + "\n")
    assert quantmill("run", manifest, home=tmp_path / "undisturbed").code == 0
    dice = random.Random(20)
    home, kills, rounds = tmp_path / "home-0", 0, 0
    done: dict[str, int] = {}
    while kills < KILLS:
        # Mostly early moments, where steps begin and records are written; some deep inside the long steps.
        if kill_after(dice.choice([1.5, 2.5, 4.0, 6.0, 12.0]) * (0.4 + 0.8 * dice.random()), manifest, home):
            kills += 1
        now = records(home)
        assert done.items() <= now.items(), "a finished step was done again"
        done = now
        if len(list(home.glob("store/publish/*/record.json"))) == 2:
            rounds += 1
            home, done = tmp_path / f"home-{rounds}", {}
        time.sleep(0.1)
    last = quantmill("run", manifest, home=home)
    assert last.code == 0, last.stdout + last.stderr
    assert done.items() <= records(home).items()
    undisturbed = contents(tmp_path / "undisturbed")
    assert len([path for path in undisturbed if path.endswith("model.safetensors")]) == 4  # two artifacts, two releases
    for directory in (home, *(tmp_path / f"home-{n}" for n in range(rounds))):
        assert contents(directory) == undisturbed
