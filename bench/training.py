"""What `plan` says that training an adapter takes against what it takes: two shapes, each run in a process of its own.

    python -m bench.training [--scratch DIR] [--only PATTERN]

On one core (`taskset`) a run's seconds are those that the kernel counted, so that what else runs there does not count.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from adapters.request import Base, TrainRequest
from bench.models import DEMO, LLAMA_1B
from bench.predictions import BRIEF, COLUMNS, SHAPES, manifest, worst
from bench.process import measured
from bench.table import report, verdicts
from flows.planning.adapter_cost import training
from flows.planning.adapter_jobs import AdapterJob
from flows.planning.cost import cores
from flows.planning.plan import plan, read
from flows.store import Store
from quantizers.recipe import Recipe as Quantization
from quantizers.request import Request

NF4 = Quantization(format="bitsandbytes", dtype="nf4", group_size=64)
MODELS = {"0.34 B": SHAPES["0.34 B"], "1.1 B": LLAMA_1B}
RUNS: list[tuple[str, dict[str, Any], str]] = [
    ("0.34 B", {"steps": 1, "batch": 1, "tokens": 16}, "fp32"),
    ("0.34 B", {"steps": 1, "batch": 2, "tokens": 256}, "fp32"),
    ("0.34 B", {"steps": 1, "batch": 4, "micro_batch": 4, "tokens": 256}, "fp32"),
    ("0.34 B", {"steps": 1, "batch": 4, "micro_batch": 4, "tokens": 256}, "bf16"),
    ("1.1 B", {"steps": 1, "batch": 1, "tokens": 16}, "fp32"),
    ("1.1 B", {"steps": 1, "batch": 1, "tokens": 256}, "fp32"),
]
"""Shape, recipe, dtype of products; every linear gets an update of rank 16."""


def job(room: Path, shape: str, recipe: dict[str, Any], compute: str) -> AdapterJob:
    """What `plan` makes of the run, of a model that is there."""
    path = room / "training.yaml"
    texts = {"files": ["calibration.jsonl"]}
    entry = {**recipe, "base": "nf4", "data": texts, "held_out": {"files": ["evaluation.jsonl"]}, "compute": compute}
    said = yaml.safe_load((room / "bench.yaml").read_text()) | {
        "targets": {"nf4": "nf4"},
        "evaluation": {"files": ["evaluation.jsonl"], "tokens": 64},
        "adapters": {"a": entry},
        "publish": {"to": "local", "namespace": "bench"},
    }
    path.write_text(yaml.safe_dump(said))
    (planned,) = plan(read([path]), Store(room.parent / "home")).adapters
    return planned.job


def base_of(room: Path) -> Path:
    """The model packed, made once."""
    made = room / "out"
    if not made.is_dir():
        (room / "quantize.json").write_text(Request(model=room / "model", targets={"nf4": NF4}).model_dump_json())
        measured("quantizers", room / "quantize.json", made, log=room / "log")
    return made / "nf4"


def run(room: Path, asked: AdapterJob) -> dict[str, Any]:
    """Train once; what it was to take, and took."""
    base = Base(directory=base_of(room), name="bench/base", revision="a" * 40)
    request = TrainRequest(
        base=base, documents=DEMO / "calibration.jsonl", recipe=asked.adapter.recipe, compute=asked.compute
    )
    (room / "train.json").write_text(request.model_dump_json())
    before = _used()
    with tempfile.TemporaryDirectory(dir=room) as out:
        taken = measured("adapters", room / "train.json", Path(out), log=room / "log")
    cost, used = training(asked), _used() - before
    return {
        "predicted_bytes": cost.memory_bytes,
        "peak_bytes": taken.peak_bytes,
        "memory_ratio": cost.memory_bytes / taken.peak_bytes,
        "predicted_seconds": cost.seconds,
        "seconds": used if cores() == 1 else taken.seconds,
        "wall_seconds": taken.seconds,
    }


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def rows(scratch: Path, pattern: str) -> Iterator[dict[str, Any]]:
    """A row for each run of a shape whose name fits."""
    for shape, recipe, compute in RUNS:
        if not fnmatchcase(shape, pattern):
            continue
        room = scratch / shape.replace(" ", "-")
        if not room.is_dir():
            manifest(room, MODELS[shape])
        row = run(room, job(room, shape, {**recipe, "rank": 16}, compute))
        row["seconds_ratio"] = row["predicted_seconds"] / row["seconds"] if row["seconds"] >= BRIEF else None
        said = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in recipe.items())
        yield {"name": f"{shape}, {compute}, {said}", **row}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", default="*", help="shapes to run, a pattern such as '1*'")
    arguments.add_argument("--scratch", type=Path, help="a directory with 5 GB of room")
    chosen = arguments.parse_args()
    found = []
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
        for row in rows(Path(scratch), chosen.only):
            found.append(row)
            print(json.dumps(row), flush=True)
    report("training", f"Training, predicted and measured, on {cores()} cores", COLUMNS, found, chosen.only == "*")
    if not verdicts(list(worst(found))):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
