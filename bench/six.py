"""One original and six artifacts of a 1.1 B Llama shape through the gates, against the calibrated pass and against arithmetic.

    python -m bench.six [--blocks N] [--documents N] [--tokens N] [--memory GB] [--only PATTERN] [--scratch DIR] [--keep]

Every step is a process of its own, and its peak is the record's. Seconds are those of the CPU, of the step's process and its
children, so that what else runs there counts little; run it on one core. Libraries are imported once, by the process that steps
are forked from: some 6 seconds, which no step counts. The floor is measured in the same run: the matrix products of the same
shapes with as many tokens as the documents have, by plain `torch.matmul`, in float32 for the original and for each artifact in
what its client computes in.

Weights are random: they measure cost, and tolerances are so wide that all documents are scored, in as many looks as that takes.
The control, one for each way of loading, is scored like any artifact, on 8 documents, and told by itself. With `--keep` a run
that is broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from bench.models import DEMO, LLAMA_1B, write_random
from bench.predictions import Meter
from bench.table import Column, gigabytes, report, seconds, verdicts
from flows import tasks
from flows.execution import requests
from flows.execution.steps import known, perform
from flows.planning import cost, predictions
from flows.planning.batches import batches
from flows.planning.cost import NOTHING
from flows.planning.jobs import Job
from flows.planning.plan import Plan, plan, read
from flows.store import Store

MEMORY, SECONDS = 1.5, 2.0
"""The peak of a step over the calibrated pass's, and seconds of all over the floor, at the most."""
TARGETS = {
    "awq": "w4-awq-compensated-asym-g64",
    "int8": "w8-rtn-g128",
    "int4": "w4-rtn-g64",
    "nf4": "nf4",
    "ov-awq": "ov-w4-awq-compensated-asym-g64",
    "ov-int8": "ov-w8-rtn",
}
MANIFEST = """
model: {{source: ./model, name: six}}
calibration: {{files: [calibration.jsonl], samples: 16, tokens: 128}}
evaluation: {{files: [evaluation.jsonl], tokens: {tokens}, documents: {documents}}}
memory: {memory} GB
judge: streamed
targets: {targets}
gates:
  divergence: {{max_kld: 100}}
  perplexity: {{max_increase: 100000%}}
  size: {{max_ratio: 100%}}
  tail: {{max_token: 1000}}
"""
TORCH = {"float32": torch.float32, "bfloat16": torch.bfloat16}
COLUMNS = (
    Column("name", "step"),
    Column("peak_bytes", "peak (GB)", gigabytes),
    Column("cpu_seconds", "CPU seconds", seconds),
    Column("floor_seconds", "floor", seconds),
    Column("looks", "looks"),
)


def floor(shape: dict[str, Any], blocks: int, tokens: int, dtype: torch.dtype) -> float:
    """CPU seconds of the products of a Llama's linears with so many tokens: the least of three turns."""
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    cached = hidden // shape["num_attention_heads"] * shape["num_key_value_heads"]
    block = [(hidden, hidden)] * 2 + [(cached, hidden)] * 2 + [(inner, hidden)] * 2 + [(hidden, inner)]
    head = [(shape["vocab_size"], hidden)]
    return blocks * _products(block, tokens, dtype) + _products(head, tokens, dtype)


def _products(shapes: Sequence[tuple[int, int]], tokens: int, dtype: torch.dtype) -> float:
    total = 0.0
    for rows, columns in shapes:
        weight, given = torch.randn(rows, columns).to(dtype), torch.randn(tokens, columns).to(dtype)
        turns = []
        for _ in range(3):
            begun = time.process_time()
            torch.matmul(given, weight.T)
            turns.append(time.process_time() - begun)
        total += min(turns)
    return total


def manifest(room: Path, chosen: argparse.Namespace) -> Path:
    """The manifest beside the demo's texts and a random model, unless it was made before."""
    if not (room / "model").is_dir():
        room.mkdir(parents=True, exist_ok=True)
        for name in ("calibration.jsonl", "evaluation.jsonl"):
            shutil.copyfile(DEMO / name, room / name)
        write_random(room / "model", LLAMA_1B, num_hidden_layers=chosen.blocks)
    targets = {name: preset for name, preset in TARGETS.items() if fnmatchcase(name, chosen.only)}
    said = {"tokens": chosen.tokens, "documents": chosen.documents, "memory": chosen.memory}
    (room / "six.yaml").write_text(MANIFEST.format(**said, targets=json.dumps(targets)))
    return room / "six.yaml"


def steps(todo: Plan, store: Store) -> Iterator[dict[str, Any]]:
    """Do all but the releases; a row for each step."""
    meter, done = Meter(store), set()
    for planned in todo.jobs:
        for step in (step for step in planned.left if step.kind in tasks.PREPARING and step not in done):
            done.add(step)
            price = predictions.price(step, planned)
            yield meter.row(step.kind.name, price, tasks.PREPARING[step.kind], planned.job, step, store)[0]
    for label, work in batches(list(todo.jobs)):
        yield meter.row("quantize", cost.quantizing(work), tasks.quantize, work, label, store)[0]
    ways: dict[str, Any] = {}
    for planned in todo.jobs:
        job, rung, before = planned.job, planned.rung, meter.evidence()
        size = cost.weights_bytes(job.original, rung)
        row, verdict = meter.row(f"gate {job.target.name}", cost.gating(job, rung, size), tasks.gate, job, rung, store)
        failed = [each.sentence for each in verdict.result.gates if each.outcome != "passed"]
        looks = len(meter.evidence()) - len(before)
        yield row | {"format": rung.recipe.format, "looks": looks, "failed": failed} | _computed(meter, verdict.result)
        ways.setdefault(rung.recipe.format, planned)
    for name, planned in ways.items():
        row, _ = meter.row(f"control {name}", NOTHING, _Control, planned.job, planned.rung, store)
        yield row | {"format": name}


class _Control:
    """Scores a spoiled copy, and asks no gate about it: of random weights none could tell."""

    @staticmethod
    def fn(job: Job, rung: Any, store: Store) -> None:
        artifact = known(store, job.quantize(rung))
        assert artifact
        step = job.control(rung, artifact.content)
        perform(store, step, "control", requests.control(job, rung, artifact, store))


def _computed(meter: Meter, verdict: Any) -> dict[str, Any]:
    evidence = json.loads((meter.store.home / "store/evidence" / verdict.evidence / "out/evidence.json").read_bytes())
    runtime = evidence["runtime"]
    words = f"{runtime.get('dtype')} {runtime.get('INFERENCE_PRECISION_HINT')}"
    return {
        "dtype": "bfloat16" if "bf" in words else "float32",
        "documents": len(evidence["documents"]),
        "tokens": sum(document["tokens"] for document in evidence["documents"]),
        "checks": [check for check in evidence["checks"] if not check["passed"]],
        "kld": evidence["summary"]["kld"]["value"] if evidence["summary"] else None,
    }


def told(rows: list[dict[str, Any]], chosen: argparse.Namespace) -> dict[str, float]:
    """Add floors to rows; what all steps of the gates took, against what they may."""
    tokens = chosen.documents * chosen.tokens
    floors = {name: floor(LLAMA_1B, chosen.blocks, tokens, dtype) for name, dtype in TORCH.items()}
    for row in rows:
        if row["name"] == "baseline":
            row["floor_seconds"] = floors["float32"]
        elif "looks" in row:
            row["floor_seconds"] = floors[row["dtype"]]
    judged = [row for row in rows if "floor_seconds" in row]
    controls = sum(row["cpu_seconds"] for row in rows if row["name"].startswith("control"))
    return {
        "peak_bytes": max(row["peak_bytes"] for row in judged),
        "pass_bytes": max((row["peak_bytes"] for row in rows if row["name"] == "quantize"), default=0),
        "cpu_seconds": sum(row["cpu_seconds"] for row in judged),
        "floor_seconds": sum(row["floor_seconds"] for row in judged),
        "control_seconds": controls,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--blocks", type=int, default=LLAMA_1B["num_hidden_layers"])
    arguments.add_argument("--documents", type=int, default=16)
    arguments.add_argument("--tokens", type=int, default=128, help="of a document")
    arguments.add_argument("--memory", type=float, default=2.2, help="the manifest's budget, in GB")
    arguments.add_argument("--only", default="*", help="targets, a pattern such as 'ov-*'")
    arguments.add_argument("--scratch", type=Path, help="a directory with 12 GB of room")
    arguments.add_argument(
        "--keep", action="store_true", help="work in DIR itself, go on from what is there, and leave it"
    )
    chosen = arguments.parse_args()
    torch.set_num_threads(cost.cores())
    if chosen.keep:
        rows, whole = measured_in(chosen.scratch, chosen)
    else:
        with tempfile.TemporaryDirectory(dir=chosen.scratch) as directory:
            rows, whole = measured_in(Path(directory), chosen)
    title = f"1.1 B Llama shape, {chosen.blocks} blocks, {chosen.documents} x {chosen.tokens} tokens, on {cost.cores()} cores"
    complete = chosen.blocks == LLAMA_1B["num_hidden_layers"] and chosen.only == "*"
    report("six", title, COLUMNS, rows, complete, sums=whole, memory_bytes=int(chosen.memory * 1e9))
    checks = [("CPU seconds over the floor", whole["cpu_seconds"] / whole["floor_seconds"], "<=", SECONDS)]
    if whole["pass_bytes"]:
        checks.append(("peak over the calibrated pass's", whole["peak_bytes"] / whole["pass_bytes"], "<=", MEMORY))
    if not verdicts(checks):
        raise SystemExit(1)


def measured_in(directory: Path, chosen: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The rows of all steps, and their sums."""
    store, kept = Store(directory / "home"), directory / "rows.json"
    rows: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.is_file() else {}
    for row in steps(plan(read([manifest(directory / "room", chosen)]), store), store):
        # What was done before takes nothing, and leaves no record.
        if row["peak_bytes"] or row["name"] not in rows:
            rows[row["name"]] = row
        kept.write_text(json.dumps(rows, indent=1))
        print(f"{row['name']}: {row['peak_bytes'] / 1e9:.2f} GB, {row['cpu_seconds']:.1f} s", flush=True)
    return list(rows.values()), told(list(rows.values()), chosen)


if __name__ == "__main__":
    main()
