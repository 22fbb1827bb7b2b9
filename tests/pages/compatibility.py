"""Which client runs which format, tried one by one: `python -m tests.pages.compatibility` writes docs/compatibility.md.

What is tried is a release of the demo model in each format. Of a client or a device that is not here nothing is claimed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from catalog.formats import FORMATS
from catalog.tasks import TASKS
from tests.releases import ROOT, TARGETS, published, quantized

PAGE = ROOT / "docs/compatibility.md"
WORKS, REFUSED, UNTESTED = "works", "refused: {}", "not testable here: {}"
LETTERS = 150
"""Of a message that the table shows."""


@dataclass(frozen=True)
class Tried:
    """A client, and the program that tries it on text generation."""

    name: str
    package: str
    """What it imports."""
    below: str
    """The client, of those that formats name, whose files and devices are its own."""
    devices: tuple[str, ...]
    program: str
    """Prints text. `{name}` is the release, `{device}` the device, `{backend}` what LangChain calls the client below."""


_TORCH = ("cpu", "cuda", "xpu")
_OPENVINO = ("CPU", "GPU", "NPU")
_OF_TRANSFORMERS = """
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({name})
print(tokenizer.decode(model.generate(**tokenizer("Return", return_tensors="pt"), max_new_tokens=4)[0]))
"""
CLIENTS = (
    Tried(
        "transformers",
        "transformers",
        "transformers",
        _TORCH,
        "from transformers import AutoModelForCausalLM\n"
        "model = AutoModelForCausalLM.from_pretrained({name}, device_map={device})" + _OF_TRANSFORMERS,
    ),
    Tried(
        "optimum-intel",
        "optimum.intel",
        "optimum.intel",
        _OPENVINO,
        "from optimum.intel import OVModelForCausalLM\n"
        "model = OVModelForCausalLM.from_pretrained({name}, device={device}, export=False)" + _OF_TRANSFORMERS,
    ),
    Tried(
        "OpenVINO GenAI",
        "openvino_genai",
        "optimum.intel",
        _OPENVINO,
        "import openvino_genai\nfrom huggingface_hub import snapshot_download\n"
        "pipeline = openvino_genai.LLMPipeline(snapshot_download({name}), {device})\n"
        "print(pipeline.generate('Return', max_new_tokens=4))",
    ),
    Tried(
        "llama.cpp",
        "xllamacpp",
        "xllamacpp",
        ("cpu",),
        "import xllamacpp\nfrom huggingface_hub import snapshot_download\n"
        "settings = xllamacpp.CommonParams()\n"
        "settings.model.path = snapshot_download({name}) + '/model.gguf'\n"
        "print(xllamacpp.Server(settings).handle_completions({{'prompt': 'Return', 'max_tokens': 4}})['choices'])",
    ),
    Tried(
        "LangChain, StoppingPipeline",
        "langchain_huggingface",
        "transformers",
        ("cpu",),
        "from quantmill.langchain import StoppingPipeline\n"
        "llm = StoppingPipeline.from_model_id({name}, task='text-generation', backend={backend})\n"
        "print(llm.invoke('Return', pipeline_kwargs={{'max_new_tokens': 4}}))",
    ),
    Tried(
        "LangChain, GenAIPipeline",
        "langchain_huggingface",
        "optimum.intel",
        ("CPU",),
        "from quantmill.langchain import GenAIPipeline\n"
        "llm = GenAIPipeline.from_model_id({name}, device={device}, generation={{'max_new_tokens': 4}})\n"
        "print(llm.invoke('Return'))",
    ),
    Tried(
        "vLLM", "vllm", "transformers", ("cpu", "cuda"), "from vllm import LLM\nprint(LLM({name}).generate('Return'))"
    ),
)
RUNNER = """
import json, sys
for program in json.load(open(sys.argv[1])):
    try:
        exec(compile(program, "program", "exec"), {"__name__": "__main__"})
        print("\\0works", flush=True)
    except BaseException as error:
        print("\\0" + json.dumps(f"{type(error).__name__}: {error}"), flush=True)
"""
Row = tuple[str, str, str, str, str]
"""Format, client, task, device, what came of it."""


def rows(home: Path, scratch: Path) -> list[Row]:
    """Try every format in every client: on the CPU, and on other devices where the client is the format's own."""
    made = {recipe.get("format", "compressed-tensors"): target for target, recipe in reversed(TARGETS.items())}
    cells = [
        (format_, client, "text-generation", device)
        for format_, row in FORMATS.items()
        if row.interpreter is None
        for client in CLIENTS
        for device in client.devices
        if device.lower() == "cpu" or FORMATS[format_].client.module == client.below
    ]
    reasons = [untested(format_, client, device, made) for format_, client, _, device in cells]
    programs = [
        client.program.format(
            name=repr(f"acme/demo-{made[format_]}"),
            device=repr(device),
            backend=repr("openvino" if FORMATS[format_].client.module == "optimum.intel" else "default"),
        )
        for (format_, client, _, device), reason in zip(cells, reasons, strict=True)
        if reason is None
    ]
    outcomes = iter(run(programs, home, scratch))
    return [
        (format_, client.name, task, device.upper(), next(outcomes) if reason is None else UNTESTED.format(reason))
        for (format_, client, task, device), reason in zip(cells, reasons, strict=True)
    ]


def untested(format_: str, client: Tried, device: str, made: dict[str, str]) -> str | None:
    """Why a cell is not tried here, or None."""
    if format_ not in made:
        return "the demo has no release in this format"
    if find_spec(client.package.partition(".")[0]) is None:
        return f"{client.package} is not installed"
    if device in _OPENVINO:
        from openvino import Core

        devices = Core().available_devices
        there = {name.split(".")[0] for name in devices}
        return None if device in there else f"OpenVINO finds {', '.join(devices)} alone"
    import torch

    here = {"cpu": True, "cuda": torch.cuda.is_available(), "xpu": torch.xpu.is_available()}
    return None if here[device] else f"this torch finds no {device}"


def run(programs: list[str], home: Path, scratch: Path) -> list[str]:
    """Run programs in one process outside the repository; return what came of each."""
    (scratch / "tried.json").write_text(json.dumps(programs))
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHONPATH"))}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(scratch / "tried.json")],
        cwd=scratch,
        env={**inherited, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    said = [line[1:] for line in done.stdout.splitlines() if line.startswith("\0")]
    assert len(said) == len(programs), done.stderr[-2000:]
    return [WORKS if outcome == "works" else REFUSED.format(shown(json.loads(outcome), home)) for outcome in said]


def shown(message: str, home: Path) -> str:
    """The first sentence of a message, without this machine's directories."""
    said = re.sub(re.escape(str(home)) + r"[^\s'\"]*", "DIRECTORY", message)
    # OpenVINO begins with the place in its source.
    said = re.sub(r"(Exception from \S+:\d+:|Check '.*?' failed at \S+:\d+:)", "", said)
    words = " ".join(said.split()).replace("|", "\\|")
    sentence = words.split(". ")[0].rstrip(".")
    return sentence if len(sentence) <= LETTERS else f"{sentence[:LETTERS].rsplit(' ', 1)[0]} …"


def page(table: list[Row]) -> str:
    """The page."""
    lines = ["| format | client | task | device | |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in table]
    return HEAD + "\n".join(lines) + "\n" + classes() + costs()


def classes() -> str:
    """The class of each client that loads a release of each task, which `tests/flows/test_tasks.py` runs from a manifest."""
    loaded = [row.client for row in FORMATS.values() if row.interpreter is None]
    clients = list(dict.fromkeys(client.module for client in loaded))
    lines = [CLASSES, f"| task | {' | '.join(clients)} |", f"|---|{'---|' * len(clients)}"]
    used = [(name, task.clients) for name, task in TASKS.items()]
    used += [(f"{name}, of an encoder alone", task.lone) for name, task in TASKS.items() if task.lone]
    for name, usages in used:
        stocks = [f"`{usages[client].stock}`" if client in usages else "" for client in clients]
        lines.append(f"| {name} | {' | '.join(stocks)} |")
    return "\n".join(lines) + "\n"


def costs() -> str:
    """What each format takes and gives, as `python -m bench.formats` measured it."""
    measured = json.loads((ROOT / "bench/results/formats.json").read_text())
    lines = [
        COSTS.format(title=measured["title"]),
        "| | on disk (MB) | resident (MB) | decoding, × the original |",
        "|---|---|---|---|",
    ]
    for row in measured["rows"]:
        disk, resident = row["disk_bytes"] / 1e6, row["resident_bytes"] / 1e6
        lines.append(f"| {row['name']} | {disk:.0f} | {resident:.0f} | {row['decode_ratio']:.1f} |")
    return "\n".join(lines) + "\n"


HEAD = """\
# Compatibility

Written by `python -m tests.pages.compatibility`: a release of the demo model in each format was loaded and run in each client,
in a process with no code of ours but `quantmill.langchain`, and the table says what came of it. A test tries all of it again.

"""
CLASSES = """
## Tasks

What loads a release of a task; `tests/flows/test_tasks.py` makes releases of each and runs the code on their cards. Of formats,
transformers loads compressed-tensors and bitsandbytes, optimum.intel OpenVINO IR, and xllamacpp GGUF.
"""
COSTS = """
## What each takes and gives

On a CPU, take openvino where speed counts, nf4 where memory does. compressed-tensors is for vLLM, which reads it packed by its
rules: in transformers it is small on disk alone, for the weights are unpacked when the model first runs. Measured on one core,
in turn with the original in bfloat16 (`python -m bench.formats`), {title}.
Of the memory of OpenVINO about 155 MB are its runtime's, whatever the model, and of the weights it holds the mapped file and a
packed copy.
"""


def main() -> None:
    """Make the releases, try them, and write the page."""
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        for part in ("quantized", "released"):
            (scratch / part).mkdir()
        home = published(quantized(scratch / "quantized"), scratch / "released")
        PAGE.write_text(page(rows(home, scratch)))


if __name__ == "__main__":
    main()
