"""What each format takes and gives when a stock client runs it: `python -m bench.formats [--turns N] [--scratch DIR]`.

One random Llama of 110 million parameters, the original and its artifacts, each in a process of its own, measured in turn.
Random weights cost what trained ones do.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from bench.models import LLAMA_1B, write_random
from bench.process import measured
from bench.table import Column, ratio, report
from catalog.formats import LOADABLE
from catalog.runtime import RuntimeOptions
from quantizers.recipe import Recipe
from quantizers.request import Request

SHAPE = LLAMA_1B | {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "vocab_size": 16000,
}
RECIPES = {
    "compressed-tensors int4": Recipe(dtype="int4", symmetric=False, group_size=128),
    "bitsandbytes nf4": Recipe(dtype="nf4", format="bitsandbytes", group_size=64),
    "gguf Q4_0": Recipe(dtype="int4", format="gguf", group_size=32),
    "gguf Q8_0": Recipe(dtype="int8", format="gguf", group_size=32),
    "openvino int8": Recipe(dtype="int8", format="openvino", group_size=-1),
    "openvino int4": Recipe(dtype="int4", format="openvino", symmetric=False, group_size=128),
}
ORIGINAL = "original, transformers"
PROMPT, NEW = 256, 32
COLUMNS = (
    Column("name", "format"),
    Column("disk_bytes", "weights on disk (MB)", lambda value: f"{value / 1e6:.0f}"),
    Column("resident_bytes", "resident (MB)", lambda value: f"{value / 1e6:.0f}"),
    Column("own_bytes", "of it no mapped file (MB)", lambda value: f"{value / 1e6:.0f}"),
    Column("prompt_rate", "prompt, tokens/s", lambda value: f"{value:.0f}"),
    Column("prompt_ratio", "over the original's", ratio),
    Column("decode_rate", "decoding, tokens/s", lambda value: f"{value:.1f}"),
    Column("decode_ratio", "over the original's", ratio),
)


class Side:
    """A process that holds one model."""

    def __init__(self, path: Path, format_name: str, module: str = "bench.formats") -> None:
        command = [sys.executable, "-m", module, "--serve", str(path), format_name]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, text=True, **pipes)

    def ask(self, what: str) -> float:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("answer:"):
                return float(line.removeprefix("answer:"))
        raise RuntimeError(f"{' '.join(map(str, self._process.args))} ended with {self._process.wait()}")  # type: ignore[arg-type]

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def memory(what: str) -> int:
    """Bytes of this process that the kernel calls by that name, such as `VmRSS`."""
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in status if line.startswith(what))


def serve(path: Path, format_name: str) -> None:
    """Answer one line a request: `load`, `resident` and `own` in bytes that came with the model, the others in seconds."""
    import torch

    from gates.clients import client

    held: list[client.Loaded] = []
    begun: dict[str, int] = {}
    row = LOADABLE[format_name]

    def load() -> float:
        # What the client brings is not the model's.
        for module in (row.client.module, *(package.replace("-", "_") for package in row.packages)):
            with suppress(ImportError):
                import_module(module)
        begun.update({what: memory(what) for what in ("VmRSS", "RssAnon")})
        held.append(client.load(path, format_name, RuntimeOptions(), "text-generation"))
        return memory("VmRSS") - begun["VmRSS"]

    def generate(tokens: int, new: int) -> float:
        ids = torch.arange(tokens)[None] % 2000
        start = time.perf_counter()
        held[0].generate(ids, new, through_ends=True)
        return time.perf_counter() - start

    answers: dict[str, Callable[[], float]] = {
        "load": load,
        "resident": lambda: memory("VmRSS") - begun["VmRSS"],
        "own": lambda: memory("RssAnon") - begun["RssAnon"],
        "prompt": lambda: generate(PROMPT, 1),
        "decode": lambda: generate(1, NEW),
    }
    for line in sys.stdin:
        print(f"answer:{answers[line.strip()]()}", flush=True)


def quantized(model: Path, scratch: Path) -> dict[str, tuple[Path, str]]:
    """Make the artifacts; return where each is, and its format."""
    names = {f"t{number}": name for number, name in enumerate(RECIPES)}
    request = Request(model=model, targets={short: RECIPES[name] for short, name in names.items()}, calibration=None)
    (scratch / "request.json").write_text(request.model_dump_json(), "utf-8")
    measured("quantizers", scratch / "request.json", scratch / "out", log=scratch / "log")
    return {name: (scratch / "out" / short, RECIPES[name].format) for short, name in names.items()}


def compare(sides: dict[str, tuple[Path, str]], turns: int) -> list[dict[str, Any]]:
    """Measure all sides in turn; the first turn warms up and is not counted."""
    running = {name: Side(*where) for name, where in sides.items()}
    taken: dict[str, dict[str, list[float]]] = {name: {"prompt": [], "decode": []} for name in sides}
    try:
        loaded = {name: side.ask("load") for name, side in running.items()}
        for _ in range(turns + 1):
            for what in ("prompt", "decode"):
                for name, side in running.items():
                    taken[name][what].append(side.ask(what))
        resident = {name: side.ask("resident") for name, side in running.items()}
        own = {name: side.ask("own") for name, side in running.items()}
    finally:
        for side in running.values():
            side.stop()
    rows: list[dict[str, Any]] = []
    for name, (path, format_name) in sides.items():
        patterns = LOADABLE[format_name].weights
        prompt, decode = (median(taken[name][what][1:]) for what in ("prompt", "decode"))
        rows.append(
            {
                "name": name,
                "disk_bytes": sum(file.stat().st_size for pattern in patterns for file in path.glob(pattern)),
                "loaded_bytes": int(loaded[name]),
                "resident_bytes": int(resident[name]),
                "own_bytes": int(own[name]),
                "prompt_rate": PROMPT / prompt,
                "decode_rate": NEW / decode,
                "decode_seconds": taken[name]["decode"][1:],
                "prompt_seconds": taken[name]["prompt"][1:],
            }
        )
    for row in rows:
        # Of each turn, so that what else the machine does falls on both alike.
        for what in ("decode", "prompt"):
            pairs = zip(rows[0][f"{what}_seconds"], row[f"{what}_seconds"], strict=True)
            row[f"{what}_ratio"] = median(first / second for first, second in pairs)
        row["resident_ratio"] = row["resident_bytes"] / rows[0]["resident_bytes"]
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--turns", type=int, default=15)
    arguments.add_argument("--scratch", type=Path, help="a directory with 1 GB of room")
    arguments.add_argument("--serve", nargs=2, metavar=("PATH", "FORMAT"), help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.serve:
        serve(Path(chosen.serve[0]), chosen.serve[1])
        return
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
        model = Path(scratch) / "model"
        write_random(model, SHAPE)
        sides = {ORIGINAL: (model, "transformers"), **quantized(model, Path(scratch))}
        rows = compare(sides, chosen.turns)
    title = f"110 M parameters: {PROMPT} tokens read, {NEW} decoded, medians of {chosen.turns} turns"
    report("formats", title, COLUMNS, rows, chosen.turns >= 5)


if __name__ == "__main__":
    main()
