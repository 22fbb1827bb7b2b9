"""A large Llama shape from manifest to release, its peak memory held against `memory:`, and the law that it grows by.

    python -m bench.large [--shape 8b|70b] [--blocks N …] [--memory GB] [--scratch DIR]

The manifest asks for AWQ with compensated rounding as OpenVINO IR and as its compressed-tensors twin. Each step is a process
of its own, and its peak is the record's. Of a shape that is too large for the machine or the hour, some counts of blocks
are run, and a straight line through their peaks says what all blocks take, but for steps that hold as much as `memory:` lets
them.

Weights are random: they measure cost, and no gate that says anything of quality could pass, so that tolerances are wide.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.law import LAW, law
from bench.models import DEMO, LLAMA_8B, LLAMA_70B, write_random
from bench.predictions import steps
from bench.table import Column, gigabytes, report, seconds, verdicts
from flows.planning import cost
from flows.planning.plan import plan, read
from flows.store import Store

SHAPES = {"8b": LLAMA_8B, "70b": LLAMA_70B}
MANIFEST = """
model: {{source: ./model, name: large}}
calibration: {{files: [calibration.jsonl], samples: 16, tokens: 128}}
evaluation: {{files: [evaluation.jsonl], tokens: 48, documents: 16}}
memory: {memory} GB
judge: streamed
targets:
  ir: ov-w4-awq-compensated-asym-g64
  twin: w4-awq-compensated-asym-g64
gates:
  divergence: {{max_kld: 100}}
  perplexity: {{max_increase: 100000%}}
  size: {{max_ratio: 100%}}
  tail: {{max_token: 1000}}
"""
FILLED = ("baseline", "gate w4-awq-compensated-asym-g64", "gate ov-w4-awq-compensated-asym-g64")
"""Steps that hold what there is room for."""
COLUMNS = (
    Column("blocks", "blocks"),
    Column("name", "step"),
    Column("model_bytes", "model (GB)", gigabytes),
    Column("predicted_bytes", "predicted (GB)", gigabytes),
    Column("peak_bytes", "peak (GB)", gigabytes),
    Column("wall_seconds", "seconds", seconds),
)


def manifest(room: Path, shape: dict[str, Any], blocks: int, memory: float) -> tuple[Path, int]:
    """A manifest of so many blocks of a shape beside the demo's texts; the model's bytes."""
    room.mkdir()
    for name in ("calibration.jsonl", "evaluation.jsonl"):
        shutil.copyfile(DEMO / name, room / name)
    size = write_random(room / "model", shape, num_hidden_layers=blocks)
    (room / "large.yaml").write_text(MANIFEST.format(memory=memory))
    return room / "large.yaml", size


def measured(shape: dict[str, Any], blocks: int, memory: float, scratch: Path | None) -> Iterator[dict[str, Any]]:
    """What each step took, and was predicted to take."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        path, size = manifest(Path(directory) / "room", shape, blocks, memory)
        store = Store(Path(directory) / "home")
        for row in steps(plan(read([path]), store), store, together=True):
            yield row | {"blocks": blocks, "model_bytes": size}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--shape", choices=SHAPES, default="8b")
    arguments.add_argument("--blocks", type=int, nargs="+", help="counts of blocks, one run each; without, all of them")
    arguments.add_argument("--memory", type=float, default=6.0, help="the manifest's budget, in GB")
    arguments.add_argument("--scratch", type=Path, help="a directory with room for twice the model")
    chosen = arguments.parse_args()
    shape = SHAPES[chosen.shape]
    whole = int(shape["num_hidden_layers"])
    rows: list[dict[str, Any]] = []
    for blocks in chosen.blocks or (whole,):
        for row in measured(shape, blocks, chosen.memory, chosen.scratch):
            rows.append(row)
            print(f"{blocks} blocks: {row['name']}: {row['peak_bytes'] / 1e9:.2f} GB", flush=True)
    line = law(rows, whole, leave=("in all", *FILLED))
    title = f"{chosen.shape.upper()} Llama shape, memory: {chosen.memory:g} GB, on {cost.cores()} cores"
    report("large-law", f"{title}: {whole} blocks by a straight line", LAW, line, whole=False)
    name = "large" if chosen.shape == "8b" else f"large-{chosen.shape}"
    report(name, title, COLUMNS, rows, law=line, whole_blocks=whole, memory_bytes=int(chosen.memory * 1e9))
    ours = [row for row in rows if row["name"] != "in all"]
    over = [(f"{row['blocks']} blocks: {row['name']}", row["peak_bytes"] / 1e9) for row in ours]
    if not verdicts([(f"{what}: peak (GB)", peak, "<=", chosen.memory) for what, peak in over]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
