"""Ours in OpenVINO GenAI, optimum-intel's default int4 and the original in torch: `python -m bench.genai [--room DIR]`.

The 1.1 B Llama shape with random weights, which cost what trained ones do; each side in a process of its own, measured in
turn. Time to the first token is that of a prompt; decoding is what follows, token by token. What `--room` holds already is
not made anew.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor

from bench.formats import Side, memory
from bench.models import LLAMA_1B, write_random
from bench.process import measured
from bench.table import Column, ratio, report, verdicts
from flows.manifest.presets import shipped
from quantizers.recipe import Recipe
from quantizers.request import Request

PRESETS = ("ov-w4-rtn-asym-g64", "ov-w8-rtn")
RECIPES: dict[str, Recipe] = {
    **{f"ours, {name}": shipped().recipes[name] for name in PRESETS},
    "ours, int4 asymmetric g128": shipped().recipes[PRESETS[0]].model_copy(update={"group_size": 128}),
    "ours, int4 symmetric g128": shipped()
    .recipes[PRESETS[0]]
    .model_copy(update={"group_size": 128, "symmetric": True}),
}
STOCK = "optimum-intel's default int4"
ORIGINAL = "original, torch bf16"
PROMPT, NEW = 256, 64
FEW = 5
"""Turns of the original, each of which takes as long as ten of the others."""
COLUMNS = (
    Column("name", "side"),
    Column("disk_bytes", "weights on disk (GB)", lambda value: f"{value / 1e9:.2f}"),
    Column("peak_bytes", "peak memory (GB)", lambda value: f"{value / 1e9:.2f}"),
    Column("first_ms", "first token (ms)", lambda value: f"{value:.0f}"),
    Column("prompt_rate", "prompt, tokens/s", lambda value: f"{value:.0f}"),
    Column("decode_rate", "decoding, tokens/s", lambda value: f"{value:.1f}"),
    Column("decode_ratio", "over torch's", ratio),
    Column("stock_ratio", "over optimum's int4", ratio),
    Column("noise", "its quartiles over turns", lambda value: f"{value[0]:.2f} … {value[1]:.2f}"),
)

_STOCK = """
import sys
from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig
from transformers import AutoTokenizer
import openvino, openvino_tokenizers
source, out = sys.argv[1:]
config = OVWeightQuantizationConfig(bits=4)
OVModelForCausalLM.from_pretrained(source, export=True, compile=False, quantization_config=config).save_pretrained(out)
tokenizer = AutoTokenizer.from_pretrained(source)
tokenizer.save_pretrained(out)
for graph, name in zip(openvino_tokenizers.convert_tokenizer(tokenizer, with_detokenizer=True), ("", "de")):
    openvino.save_model(graph, f"{out}/openvino_{name}tokenizer.xml")
"""


def _prompts() -> Iterator[Tensor]:
    """Prompts `[1, PROMPT]` that begin with no earlier one: OpenVINO GenAI keeps what it has read, and reads it once."""
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randint(3, 2000, (1, PROMPT), generator=generator)


def _genai(path: Path) -> Callable[[int, int], tuple[float, float]]:
    """Generate; return the seconds to the first token, and of the others."""
    import numpy as np
    import openvino
    import openvino_genai

    pipeline, prompts = openvino_genai.LLMPipeline(path, "CPU"), _prompts()

    def generate(tokens: int, new: int) -> tuple[float, float]:
        ids = openvino.Tensor(next(prompts).numpy()[:, :tokens].astype(np.int64))
        config = openvino_genai.GenerationConfig(max_new_tokens=new, ignore_eos=True)
        metrics = pipeline.generate(ids, config).perf_metrics
        first = metrics.get_ttft().mean / 1e3
        return first, metrics.get_generate_duration().mean / 1e3 - first

    return generate


def _torch(path: Path, dtype: str) -> Callable[[int, int], tuple[float, float]]:
    from transformers import AutoModelForCausalLM

    model, prompts = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).eval(), _prompts()

    def generate(tokens: int, new: int) -> tuple[float, float]:
        ids, heard = next(prompts)[:, :tokens], _Clock()
        asked: dict[str, Any] = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": 0}
        with torch.inference_mode():
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), streamer=heard, **asked)
        # It is told of the prompt before anything is computed.
        begun, first, *_, last = heard.times
        return first - begun, last - first

    return generate


class _Clock:
    """A streamer that notes when it was given each token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, _: object) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None: ...


def serve(path: Path, how: str) -> None:
    """Answer one line a request: `load` and `peak` in bytes, `first` and `rest` in seconds of one generation."""
    held: list[Callable[[int, int], tuple[float, float]]] = []
    last: list[tuple[float, float]] = []

    def load() -> float:
        held.append(_genai(path) if how == "genai" else _torch(path, how))
        return memory("VmRSS")

    def first() -> float:
        last[:] = [held[0](PROMPT, NEW)]
        return last[0][0]

    answers: dict[str, Callable[[], float]] = {
        "load": load,
        "first": first,
        "rest": lambda: last[0][1],
        "peak": lambda: memory("VmHWM"),
    }
    for line in sys.stdin:
        print(f"answer:{answers[line.strip()]()}", flush=True)


def made(room: Path) -> dict[str, tuple[Path, str]]:
    """Make what the room lacks; return where each side is and how it runs, the original first."""
    model, ours, stock = room / "model", room / "ours", room / "stock"
    if not (model / "config.json").exists():
        write_random(model, LLAMA_1B)
    if not (ours / "result.json").exists():
        request = Request(model=model, targets={f"t{n}": recipe for n, recipe in enumerate(RECIPES.values())})
        (room / "request.json").write_text(request.model_dump_json(), "utf-8")
        measured("quantizers", room / "request.json", ours, log=room / "log")
    if not (stock / "openvino_detokenizer.xml").exists():
        subprocess.run([sys.executable, "-c", _STOCK, model, stock], check=True, capture_output=True)
    sides = {name: (ours / f"t{n}", "genai") for n, name in enumerate(RECIPES)}
    return {ORIGINAL: (model, "bfloat16"), STOCK: (stock, "genai")} | sides


def compare(sides: dict[str, tuple[Path, str]], turns: int) -> list[dict[str, Any]]:
    """Measure all sides in turn; the first turn warms up and is not counted."""
    running = {name: Side(*where, module="bench.genai") for name, where in sides.items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    try:
        for side in running.values():
            side.ask("load")
        for turn in range(turns + 1):
            for name, side in running.items():
                if name == ORIGINAL and turn > FEW:
                    continue
                taken[name].append((side.ask("first"), side.ask("rest")))
        peaks = {name: int(side.ask("peak")) for name, side in running.items()}
    finally:
        for side in running.values():
            side.stop()
    counted = {name: times[1:] for name, times in taken.items()}
    return [_row(name, sides[name][0], peaks[name], counted) for name in sides]


def _row(name: str, path: Path, peak: int, taken: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    first, rest = (median(each) for each in zip(*taken[name], strict=True))

    def over(other: str) -> list[float]:
        # Of each turn, so that what else the machine does falls on both alike.
        return [theirs / own for (_, theirs), (_, own) in zip(taken[other], taken[name], strict=False)]

    low, _, high = quantiles(over(STOCK), n=4)
    files = [*path.glob("*.safetensors"), *path.glob("openvino_model.bin")]
    return {
        "name": name,
        "disk_bytes": sum(file.stat().st_size for file in files),
        "peak_bytes": peak,
        "first_ms": 1e3 * first,
        "prompt_rate": PROMPT / first,
        "decode_rate": (NEW - 1) / rest,
        "decode_ratio": median(over(ORIGINAL)),
        "stock_ratio": median(over(STOCK)),
        "noise": [low, high],
    }


def targets(rows: list[dict[str, Any]]) -> list[tuple[str, float, str, float]]:
    """What the comparison must show: ours decodes no slower than theirs, and 3.3 times as fast as the original."""
    ours = next(row for row in rows if row["name"] == f"ours, {PRESETS[0]}")
    return [
        (f"decoding of {PRESETS[0]} / {STOCK}'s", ours["stock_ratio"], ">=", 1.0),
        (f"decoding of {PRESETS[0]} / {ORIGINAL}'s", ours["decode_ratio"], ">=", 3.3),
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--turns", type=int, default=8)
    arguments.add_argument("--room", type=Path, help="a directory with 6 GB of room, where what is made stays")
    arguments.add_argument("--serve", nargs=2, metavar=("PATH", "HOW"), help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.serve:
        serve(Path(chosen.serve[0]), chosen.serve[1])
        return
    with tempfile.TemporaryDirectory() as scratch:
        room = chosen.room or Path(scratch)
        rows = compare(made(room), chosen.turns)
    title = f"1.1 B Llama shape: {PROMPT} tokens read, {NEW} written, medians of {chosen.turns} turns"
    report("genai", title, COLUMNS, rows, chosen.turns >= 5)
    if not verdicts(targets(rows)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
