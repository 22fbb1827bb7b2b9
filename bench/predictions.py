"""What `plan` predicts against what the steps take: five shapes, each step in a process of its own, as in a run.

    python -m bench.predictions [--only PATTERN] [--times N] [--scratch DIR]

The demo is done as a run does it, all its targets in as few passes as there can be; the other shapes one target after the
other. Predictions are for the cores that this process may use (`taskset` gives it fewer). A look at an artifact that is
not the last is priced as what it was, one of several. On a single core a step's seconds are those that the kernel
counted, so that what else runs there does not count; on several it is the clock. With `--times` every figure is the
median of so many runs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.models import DEMO, write_random
from bench.table import Column, gigabytes, ratio, report, seconds, verdicts
from flows import tasks
from flows.execution.steps import known
from flows.manifest.model import Rung
from flows.planning import cost, predictions
from flows.planning.batches import batches
from flows.planning.cost import Cost
from flows.planning.jobs import Job
from flows.planning.kinds import QUANTIZE, STATISTICS
from flows.planning.plan import Plan, plan, read
from flows.store import Store

FACTOR = 1.5
"""That a prediction may be off by, either way."""
BRIEF = 2.0
"""Seconds below which a step is not judged by them."""
SMALL = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 2048,
    "tie_word_embeddings": True,
}
SHAPES: dict[str, dict[str, Any]] = {
    "demo": {},
    "tiny": {**SMALL, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2},
    "wide vocabulary": {**SMALL, "vocab_size": 128256, "tie_word_embeddings": False},
    "deep": {**SMALL, "num_hidden_layers": 48},
    "0.34 B": {
        **SMALL,
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "vocab_size": 32000,
        "tie_word_embeddings": False,
    },
}
MANIFEST = """
model: {source: ./model, name: bench}
calibration: {files: [calibration.jsonl], samples: 16, tokens: 128}
evaluation: {files: [evaluation.jsonl], tokens: 64, documents: 24}
targets:
  int8: w8-rtn-g128
  awq: w4-awq-compensated-asym-g64
  ir: ov-w4-rtn-g64
  nncf: ov-w4-g64
gates: {divergence: {max_kld: 0.5}}
"""
COLUMNS = (
    Column("name", "step"),
    Column("predicted_bytes", "predicted (GB)", gigabytes),
    Column("peak_bytes", "peak (GB)", gigabytes),
    Column("memory_ratio", "", ratio),
    Column("predicted_seconds", "predicted (s)", seconds),
    Column("seconds", "seconds", seconds),
    Column("seconds_ratio", "", ratio),
    Column("wall_seconds", "by the clock", seconds),
)


def manifest(room: Path, shape: dict[str, Any]) -> Path:
    """The demo's manifest, or one of a random model beside the demo's texts."""
    shutil.copytree(DEMO, room)
    if not shape:
        return room / "demo.yaml"
    shutil.rmtree(room / "model")
    write_random(room / "model", shape)
    (room / "bench.yaml").write_text(MANIFEST)
    return room / "bench.yaml"


_TOGETHER = (QUANTIZE.name, STATISTICS.name)


@dataclass
class Meter:
    """Runs steps, and holds what they took against what was predicted."""

    store: Store

    def row(self, name: str, predicted: Cost, work: Any, *arguments: Any) -> tuple[dict[str, Any], Any]:
        """Do one piece of work in children; return its row, and what it returned."""
        before = {path: path.stat().st_mtime_ns for path in self._records()}
        clock = time.perf_counter()
        returned = work.fn(*arguments)
        wall = time.perf_counter() - clock
        new = [json.loads(path.read_bytes()) for path in self._records() if path not in before]
        cpu = _cpu_seconds(new)
        row = {
            "name": name,
            "predicted_bytes": predicted.memory_bytes,
            "peak_bytes": max((record["peak_memory_bytes"] for record in new), default=0),
            "predicted_seconds": predicted.seconds,
            "seconds": cpu if cost.cores() == 1 else wall,
            "cpu_seconds": cpu,
            "wall_seconds": wall,
        }
        return row, returned

    def evidence(self) -> list[Path]:
        """Records of looks at artifacts, one each."""
        return list(self.store.home.glob("store/evidence/*/record.json"))

    def _records(self) -> list[Path]:
        return list(self.store.home.glob("store/*/*/record.json"))


def _cpu_seconds(records: list[dict[str, Any]]) -> float:
    """What their processes took; all that one pass made is told of the same process."""
    alone = [record["cpu_seconds"] for record in records if record["step"] not in _TOGETHER]
    together = [record["cpu_seconds"] for record in records if record["step"] in _TOGETHER]
    return float(sum(alone) + max(together, default=0.0))


def looked(job: Job, rung: Rung, count: int, store: Store) -> float:
    """Seconds that so many looks at an artifact are priced at; that the first decides is what `plan` supposes."""
    baseline = known(store, job.baseline)
    assert baseline is not None
    documents = (0, *cost.looks(job, rung, baseline.result.documents)[:count])
    size = cost.weights_bytes(job.original, rung)
    return sum(cost.gating(job, rung, size, more - done).seconds for done, more in pairwise(documents))


def steps(todo: Plan, store: Store, together: bool) -> Iterator[dict[str, Any]]:
    """Do all that is to be done; a row for each step, and one for all."""
    meter, rows, done = Meter(store), [], set()

    def take(name: str, predicted: Cost, work: Any, *arguments: Any) -> tuple[dict[str, Any], Any]:
        row, returned = meter.row(name, predicted, work, *arguments)
        rows.append(row)
        return row, returned

    for planned in todo.jobs:
        for step in (step for step in planned.left if step.kind in tasks.PREPARING and step not in done):
            done.add(step)
            yield take(
                step.kind.name, predictions.price(step, planned), tasks.PREPARING[step.kind], planned.job, step, store
            )[0]
    for label, work in batches(list(todo.jobs)) if together else [(p.rung.name, [(p.job, p.rung)]) for p in todo.jobs]:
        yield take(
            f"quantize {label.rpartition('quantize ')[2]}", cost.quantizing(work), tasks.quantize, work, label, store
        )[0]
    for planned in todo.jobs:
        job, rung = planned.job, planned.rung
        size = cost.weights_bytes(job.original, rung)
        before = len(meter.evidence())
        row, verdict = take(f"gate {rung.name}", cost.gating(job, rung, size), tasks.gate, job, rung, store)
        row["predicted_seconds"] = looked(job, rung, len(meter.evidence()) - before, store)
        yield row
        if verdict.result.passed:
            yield take(f"publish {rung.name}", cost.publishing(size, job), tasks.publish, job, rung, verdict, store)[0]
    whole = {key: sum(row[key] for row in rows) for key in ("predicted_seconds", "seconds", "wall_seconds")}
    whole |= {key: max(row[key] for row in rows) for key in ("predicted_bytes", "peak_bytes")}
    if together:
        predicted = predictions.Predictions().of_all(todo)
        whole |= {"predicted_seconds": predicted.seconds, "predicted_bytes": predicted.memory_bytes}
    yield {"name": "in all", **whole}


def measured(shape: dict[str, Any], scratch: Path | None) -> list[dict[str, Any]]:
    """The rows of one shape, made in a new home."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        store = Store(Path(directory) / "home")
        todo = plan(read([manifest(Path(directory) / "room", shape)]), store)
        return list(steps(todo, store, together=not shape))


def medians(runs: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row of several: the median of each figure, and how far off the prediction was."""
    rows = []
    for same in zip(*runs, strict=True):
        median = {key: statistics.median(row[key] for row in same) for key in same[0] if key != "name"}
        median["memory_ratio"] = median["predicted_bytes"] / median["peak_bytes"] if median["peak_bytes"] else None
        median["seconds_ratio"] = (
            median["predicted_seconds"] / median["seconds"] if median["seconds"] >= BRIEF else None
        )
        rows.append({"name": same[0]["name"], **median})
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", default="*", help="shapes to run, a pattern such as 'd*'")
    arguments.add_argument("--times", type=int, default=1, help="runs of each shape, of which the medians count")
    arguments.add_argument("--scratch", type=Path, help="a directory with 3 GB of room")
    chosen = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    names = [name for name in SHAPES if fnmatchcase(name, chosen.only)]
    for name in names:
        figures = medians([measured(SHAPES[name], chosen.scratch) for _ in range(chosen.times)])
        rows += [{**row, "name": f"{name}: {row['name']}"} for row in figures]
        for row in figures:
            print(f"{name}: {row['name']}: {row['peak_bytes'] / 1e6:.0f} MB, {row['seconds']:.1f} s", flush=True)
    title = f"Predictions against what steps took, on {cost.cores()} cores, medians of {chosen.times}"
    report("predictions", title, COLUMNS, rows, names == list(SHAPES), cores=cost.cores())
    if not verdicts(list(worst(rows))):
        raise SystemExit(1)


def worst(rows: list[dict[str, Any]]) -> Iterator[tuple[str, float, str, float]]:
    """The prediction that was furthest off, of memory and of seconds."""
    for what in ("memory_ratio", "seconds_ratio"):
        off = {row["name"]: max(row[what], 1 / row[what]) for row in rows if row[what]}
        name = max(off, key=lambda name: off[name])
        yield f"{what.partition('_')[0]}, predicted and measured, furthest off: {name}", off[name], "<=", FACTOR


if __name__ == "__main__":
    main()
