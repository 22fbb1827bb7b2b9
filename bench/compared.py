"""Peak memory of the evidence step, by client, against what `plan` predicts of it: random Llamas whose head is much of them.

    python -m bench.compared [--only PATTERN] [--scratch DIR]

Beside the peak stands what holding weights against the original's took alone, in bytes for each weight of the largest tensor,
beyond pages of the original that stay mapped (`compared` of `flows.planning.coefficients`): the artifact is loaded in a process
of its own, whose peak is then reset.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench.models import DEMO, write_random
from bench.predictions import COLUMNS as ALL
from bench.predictions import SMALL, steps
from bench.table import Column, ratio, report
from catalog.runtime import RuntimeOptions
from flows.planning.coefficients import MAPPED
from flows.planning.plan import plan, read
from flows.store import Store

OWN_HEAD = {"num_hidden_layers": 4, "tie_word_embeddings": False}
MIDDLING = {"hidden_size": 1024, "intermediate_size": 2816, "num_attention_heads": 16}
SHAPES: dict[str, dict[str, Any]] = {
    "small": {**SMALL, **OWN_HEAD, "vocab_size": 32000},
    "middling": {**SMALL, **OWN_HEAD, **MIDDLING, "vocab_size": 128256},
}
MANIFEST = """
model: {source: ./model, name: bench}
evaluation: {files: [evaluation.jsonl], tokens: 64, documents: 24}
targets:
  compressed-tensors: {dtype: int8, group_size: 32}
  openvino: {dtype: int8, group_size: 32, format: openvino}
  gguf: {dtype: int8, group_size: 32, format: gguf}
gates: {divergence: {max_kld: 0.5}}
"""
FORMATS = {"w8": "compressed-tensors", "ov": "openvino", "gguf": "gguf"}
"""By what names of their recipes begin with."""
COLUMNS = (*ALL[:3], Column("memory_ratio", "", ratio), Column("each", "compared, bytes a weight", "{:.1f}".format))


def child(model: Path, artifact: Path, format_: str) -> None:
    """Load, reset the peak, compare as the evidence step does, and print what that added to what was resident, in bytes."""
    from gates.checks.weights import weights
    from gates.clients import client

    loaded = client.load(artifact, format_, RuntimeOptions(), "text-generation")
    Path("/proc/self/clear_refs").write_text("5")
    before = _status()
    assert weights(loaded, model).passed
    print(_status()["VmHWM"] - before["VmRSS"])


def _status() -> dict[str, int]:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {line[0].rstrip(":"): 1024 * int(line[1]) for line in lines if line[0] in ("VmRSS:", "VmHWM:")}


def rows(name: str, scratch: Path) -> list[dict[str, Any]]:
    """Do all steps of one shape, and tell of those that gate."""
    room, shape = scratch / "room", SHAPES[name]
    shutil.copytree(DEMO, room)
    shutil.rmtree(room / "model")
    mapped = min(write_random(room / "model", shape), MAPPED)
    (room / "bench.yaml").write_text(MANIFEST)
    store, found = Store(scratch / "home"), []
    for row in steps(plan(read([room / "bench.yaml"]), store), store, together=False):
        if not row["name"].startswith("gate "):
            continue
        format_ = FORMATS[row["name"].removeprefix("gate ").partition("-")[0]]
        paths = map(str, (room / "model", made(store, format_)))
        command = [sys.executable, "-m", "bench.compared", "--child", *paths, format_]
        added = int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
        each = max(0, added - mapped) / (shape["hidden_size"] * shape["vocab_size"])
        told = {"name": f"{name}: {format_}", "each": each, "memory_ratio": row["predicted_bytes"] / row["peak_bytes"]}
        found.append({key: row[key] for key in ("predicted_bytes", "peak_bytes")} | told)
        print(found[-1], flush=True)
    return found


def made(store: Store, format_: str) -> Path:
    """Where the artifact of a format is."""
    mark = {"openvino": "openvino_model.bin", "gguf": "*.gguf"}.get(format_, "*.safetensors")
    return next(store.home.glob(f"store/quantize/*/out/**/{mark}")).parent


def main() -> None:
    """Print the table and write `bench/results/compared.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="shapes to run, a pattern such as 'small*'")
    parser.add_argument("--scratch", type=Path, help="a directory with 4 GB of room")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        child(Path(chosen.child[0]), Path(chosen.child[1]), chosen.child[2])
        return
    table, names = [], [name for name in SHAPES if fnmatchcase(name, chosen.only)]
    for name in names:
        with tempfile.TemporaryDirectory(dir=chosen.scratch) as directory:
            table += rows(name, Path(directory))
    report("compared", "evidence steps: predicted and real peaks", COLUMNS, table, names == list(SHAPES))


if __name__ == "__main__":
    main()
