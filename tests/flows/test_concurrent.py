"""Several processes on one store, killed at random: each release once, nothing damaged, every wait announced."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.execution.steps import known
from flows.planning import kinds
from flows.planning.plan import plan, read
from flows.step import Kind
from flows.store import Store
from publishers.destinations.local import Local
from publishers.verify import verify
from tests.flows.conftest import ROOT, room
from tests.flows.results import milled

KILLS = 6
RUN = """
import sys
from pathlib import Path
from flows.execution import requests
from flows.execution.lock import at_work
from flows.execution.progress import Nobody, watched_by
from flows.execution.steps import perform
from flows.planning.plan import plan, read
from flows.store import Store

class Telling(Nobody):
    def waiting(self, holder):
        print("waiting for", holder, flush=True)

store = Store(Path(sys.argv[2]))
(planned,) = plan(read([Path(sys.argv[1])]), store).jobs
job, rung = planned.job, planned.rung
with watched_by(Telling()), at_work(store):
    texts = job.manifest
    for step, source in ((job.evaluation, texts.evaluation), (job.calibration, texts.calibration)):
        if step:
            perform(store, step, "a text", requests.texts(step, source, "text-generation", store))
    artifact, verdict = store.record(job.quantize(rung)), store.record(job.verdict(rung))
    perform(store, job.publish(rung), "publishing", requests.publish(job, rung, artifact, verdict, store), anew=True)
"""
"""A run's steps that need no torch, each in its own process as ever: texts are fetched, a release is published."""


def start(manifest: Path, home: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", RUN, str(manifest), str(home)]
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment)


@pytest.mark.slow
def test_four_processes_on_one_store_killed_at_random(tmp_path: Path) -> None:
    demo, store = room(tmp_path), Store(tmp_path / "home")
    kept = [
        line for line in demo.read_text().splitlines() if not line.startswith(("  int8:", "  int4:", "  nf4:", "  ov-"))
    ]
    paths = []
    for name in ("one", "two"):
        path = demo.with_name(f"{name}.yaml")
        path.write_text("\n".join(kept).replace("namespace: demo", f"namespace: {name}"))
        (planned,) = plan(read([path]), store).jobs
        milled(planned.job, store)
        paths.append(path)
        store.forget(planned.job.publish(planned.rung))
        for step in (planned.job.evaluation, planned.job.calibration):
            assert step
            store.forget(step)
    shutil.rmtree(store.home / "hub")
    dice = random.Random(4)
    logs = [tmp_path / f"{number}.log" for number in range(4)]
    running = [start(paths[number % 2], store.home, logs[number]) for number in range(4)]
    for _ in range(KILLS):
        time.sleep(dice.uniform(0.5, 2.5))
        victim = dice.randrange(4)
        running[victim].send_signal(signal.SIGKILL)
        running[victim].wait()
        running[victim] = start(paths[victim % 2], store.home, logs[victim])
    said = [process.wait(120) and log.read_text() for process, log in zip(running, logs, strict=True)]
    assert said == [0, 0, 0, 0]
    every = [kind for kind in vars(kinds).values() if isinstance(kind, Kind)]
    entries = [kind.at(path.name) for kind in every for path in (store.home / "store" / kind.name).glob("*")]
    assert len(entries) == 8 and all(known(store, entry) for entry in entries)
    assert [(release.name, release.version) for release in Local("", store.home).releases()] == [
        ("one/docstring-llama-int4-awq", "v1"),
        ("two/docstring-llama-int4-awq", "v1"),
    ]
    for release in Local("", store.home).releases():
        verify(Local("", store.home), release.name)
    assert all(planned.state == "released" for planned in plan(read(paths), Store(store.home)).jobs)
    assert list((store.home / "scratch").iterdir()) == []
    told = re.compile(r"waiting for process \d+ on \S+ \(-c .*\), at (a text|publishing) since 2")
    assert sum(len(told.findall(log.read_text())) for log in logs) >= 3
