"""Which architectures can be milled: every language model type of transformers, made tiny, by every kind of recipe.

`python -m bench.coverage [TYPE …] [--kind KIND] [--sample] [--workers N] [--fresh]`. What `bench/results/coverage.json` has is
kept, unless types are named or everything is asked for afresh; so an interrupted run goes on where it was.

A type by a recipe *works* when the stock loader reads the artifact and its output is near the original's, is *refused* when
the mill says why it cannot, and is *broken* otherwise. Types are run in processes forked from one that has imported
everything, each with a limit of time.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from bench import tiny
from bench.table import RESULTS, Column, report, verdicts
from catalog.errors import InputError
from quantizers.entrypoint import run
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Made, Request

DEMO = Path(__file__).parents[1] / "manifests" / "demo"
TEXT = Calibration(documents=DEMO / "calibration.jsonl", samples=8, tokens=48)
LIMIT_S = 120
"""Seconds of a processor that a type may take."""
NEAR = {"int8": 1e-2, "nf4": 0.5}
"""Relative error of the output, of a middling token's: where experts are chosen, any change sends some elsewhere."""

INT8 = Recipe(dtype="int8", group_size=8, symmetric=False)
NF4 = Recipe(dtype="nf4", format="bitsandbytes", group_size=32)
HOW: dict[str, dict[str, Any]] = {
    "rtn": {},
    "compensated": {"rounding": "compensated"},
    "awq": {"rounding": "compensated", "transform": "awq"},
}
"""Recipes, beside the dtype, in the first format that takes the type: compressed-tensors, or bitsandbytes."""
OTHERS = {"openvino": (("causal",), Recipe(dtype="int8", format="openvino", group_size=8, symmetric=False))}
"""Kinds that a format of its own is for, and the recipe."""
RECIPES = (*HOW, *OTHERS)
SKIP: dict[str, dict[str, Any]] = {
    "fuyu": {"skip": ("lm_head", "model.vision_embed_tokens")},
    "gemma3n_text": {"skip": ("lm_head", "*.altup.*")},
}
"""What a type's recipes leave alone: linears whose inputs are no multiple of a group in the real models, either."""
SAMPLE = (
    ("causal", "granite"),
    ("causal", "gemma2"),
    ("causal", "gpt2"),
    ("causal", "mamba"),
    ("masked", "modernbert"),
    ("seq2seq", "bart"),
    ("encoder", "distilbert"),
)
"""For CI: a chain, alternating attention, Conv1D, no attention at all, an encoder, two stacks, an encoder without a head."""

Row = dict[str, Any]


def mill(kind: str, model_type: str, scratch: Path, recipes: tuple[str, ...]) -> Iterator[Row]:
    """Yield what is known of a type so far: why it could not be made, or its outcomes by recipe."""
    try:
        model = tiny.save(model_type, scratch / "model", kind)
        wanted = _output(kind, model)
    except Exception as error:  # whatever transformers makes of a configuration so small
        yield {"unmade": _what(error)}
        return
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(DEMO / "model" / file, model / file)
    skip = SKIP.get(model_type, {})
    together = [name for name in recipes if name in HOW]
    outcomes = _together(kind, model, wanted, scratch / "together", {name: HOW[name] | skip for name in together})
    yield {"outcomes": outcomes}
    for name in recipes:
        if name in HOW and name not in outcomes:
            outcomes[name] = _first_taken(kind, model, wanted, scratch / name, HOW[name] | skip)
        elif name in OTHERS and kind in OTHERS[name][0]:
            recipe = OTHERS[name][1].model_copy(update=skip)
            outcomes[name] = _outcome(kind, model, wanted, scratch / name, recipe)
        yield {"outcomes": outcomes}


def _together(kind: str, model: Path, wanted: Tensor, out: Path, changes: dict[str, dict[str, Any]]) -> dict[str, Row]:
    """The outcomes of recipes in one pass over the model; none if it ends with an error, whoever's that is."""
    recipes = {name: Recipe.model_validate(INT8.model_dump() | each) for name, each in changes.items()}
    try:
        made = run(Request(model=model, task=_task(kind), targets=recipes, calibration=TEXT), out).targets
        return {name: _judged(kind, out / name, wanted, recipe, made[name]) for name, recipe in recipes.items()}
    except Exception:  # each tells its own when it is run alone
        return {}


def _first_taken(kind: str, model: Path, wanted: Tensor, out: Path, changes: dict[str, Any]) -> Row:
    """The outcome in compressed-tensors, or, if that is refused and bitsandbytes is not, in bitsandbytes."""
    outcomes = []
    for base in (INT8, NF4):
        recipe = Recipe.model_validate(base.model_dump() | changes)
        outcomes.append(_outcome(kind, model, wanted, out / base.dtype, recipe))
        if outcomes[-1]["outcome"] != "refused":
            return outcomes[-1]
    return outcomes[0]


def _outcome(kind: str, model: Path, wanted: Tensor, out: Path, recipe: Recipe) -> Row:
    try:
        made = run(Request(model=model, task=_task(kind), targets={"t": recipe}, calibration=TEXT), out).targets["t"]
        return _judged(kind, out / "t", wanted, recipe, made)
    except InputError as refusal:
        why = str(refusal).replace(str(model), "MODEL")
        return {"format": recipe.format, "outcome": "refused", "why": why}
    except Exception as error:
        return {"format": recipe.format, "outcome": "broken", "why": _what(error)}


def _task(kind: str) -> str:
    return "feature-extraction" if kind == "encoder" else "text-generation"


def _judged(kind: str, artifact: Path, wanted: Tensor, recipe: Recipe, made: Made) -> Row:
    error = _error(_output(kind, artifact, recipe.format), wanted)
    row: Row = {"format": recipe.format, "outcome": "works", "error": float(f"{error:.2g}"), **_told(made)}
    return (
        row if error <= NEAR[recipe.dtype] else row | {"outcome": "broken", "why": f"its output is off by {error:.1e}"}
    )


def _told(made: Made) -> Row:
    return {"quantized": made.quantized, "notes": list(made.notes)}


@torch.no_grad()
def _output(kind: str, path: Path, format_: str = "transformers") -> Tensor:
    """What a stock client computes: logits, or the last hidden states of an encoder."""
    ids = torch.randint(4, tiny.VOCABULARY - 4, (2, 24), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, **({"decoder_input_ids": ids.flip(1)} if kind == "seq2seq" else {})}
    if format_ == "openvino":
        model = importlib.import_module("optimum.intel").OVModelForCausalLM.from_pretrained(path)
        return model(**inputs, attention_mask=torch.ones_like(ids)).logits  # type: ignore[no-any-return]
    auto = getattr(transformers, tiny.KINDS[kind])
    made = auto.from_pretrained(path, dtype=torch.float32).eval()(**inputs)
    output: Tensor = made.last_hidden_state if kind == "encoder" else made.logits
    if not torch.isfinite(output).all():
        raise ValueError("the output is not finite")
    return output


def _error(ours: Tensor, wanted: Tensor) -> float:
    return float(((ours - wanted).norm(dim=-1) / wanted.norm(dim=-1)).median())


def _what(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text} ({Path(frame.filename).name}, {frame.name})"


def forked(work: Callable[[], Iterator[Row]], limit: int, recipes: tuple[str, ...]) -> Callable[[], Row]:
    """Start work in a process of its own; the returned function waits for what it told last."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        with os.fdopen(write, "w") as pipe:
            for row in work():
                pipe.write(json.dumps(row) + "\n")
                pipe.flush()
        os._exit(0)
    os.close(write)

    def told() -> Row:
        with os.fdopen(read) as pipe:
            lines = [line for line in pipe.read().split("\n") if line]
        _, status, usage = os.wait4(pid, 0)
        row: Row = json.loads(lines[-1]) if lines else {"outcomes": {}}
        code = os.waitstatus_to_exitcode(status)
        if code:
            ended = f"it took over {limit} s" if code == -signal.SIGXCPU else f"its process ended with {code}"
            row["outcomes"] |= {n: {"outcome": "broken", "why": ended} for n in recipes if n not in row["outcomes"]}
        return row | {"seconds": round(usage.ru_utime + usage.ru_stime, 1)}

    return told


def run_all(
    names: list[tuple[str, str]], recipes: tuple[str, ...], workers: int, scratch: Path
) -> Iterator[tuple[str, Row]]:
    """Yield what became of each kind and type, in order."""
    started: list[tuple[str, Path, Callable[[], Row]]] = []
    left = list(names)
    while left or started:
        while left and len(started) < workers:
            kind, model_type = left.pop(0)
            directory = Path(tempfile.mkdtemp(dir=scratch))
            own = tuple(name for name in recipes if name in HOW or kind in OTHERS[name][0])
            job = forked(partial(mill, kind, model_type, directory, own), LIMIT_S, own)
            started.append((f"{kind}/{model_type}", directory, job))
        name, directory, told = started.pop(0)
        row = told()
        shutil.rmtree(directory, ignore_errors=True)
        yield name, row


def counted(rows: dict[str, Row]) -> dict[str, Counter[str]]:
    """Outcomes by recipe, of the types that run."""
    counts = {name: Counter[str]() for name in RECIPES}
    for row in rows.values():
        for name, outcome in row.get("outcomes", {}).items():
            counts[name][outcome["outcome"]] += 1
    return counts


def _names(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    if arguments.sample:
        return list(SAMPLE)
    kinds = [arguments.kind] if arguments.kind else list(tiny.KINDS)
    every = [(kind, model_type) for kind in kinds for model_type in tiny.types(kind)]
    return [(k, t) for k, t in every if not arguments.types or t in arguments.types]


def _whole(row: Row | None, kind: str, recipes: tuple[str, ...]) -> bool:
    """Whether a row has all that is asked for."""
    if row is None or "unmade" in row:
        return row is not None
    return all(name in row["outcomes"] for name in recipes if name in HOW or kind in OTHERS[name][0])


def _quiet() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for name in ("quantizers.engines.streaming", "quantizers.calibration.block_pass", "bitsandbytes"):
        importlib.import_module(name)
    importlib.import_module("optimum.exporters.openvino.convert")
    importlib.import_module("optimum.intel")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=__doc__.splitlines()[0])
    parser.add_argument(
        "types", nargs="*", metavar="TYPE", help="model types, run again; all that are not in the results"
    )
    parser.add_argument("--kind", choices=tiny.KINDS)
    parser.add_argument("--sample", action="store_true", help="a handful of types; nothing is written")
    parser.add_argument("--recipe", nargs="*", choices=RECIPES, help="these alone; the others stay as they are")
    parser.add_argument("--workers", type=int, default=1, help="types at a time")
    parser.add_argument("--fresh", action="store_true", help="run everything again")
    arguments = parser.parse_args()
    results = RESULTS / "coverage.json"
    known: dict[str, Row] = json.loads(results.read_text("utf-8"))["types"] if results.is_file() else {}
    if arguments.fresh or arguments.sample:
        known = {}
    names = _names(arguments)
    recipes = tuple(arguments.recipe or RECIPES)
    todo = [n for n in names if arguments.types or not _whole(known.get("/".join(n)), n[0], recipes)]
    _quiet()
    with tempfile.TemporaryDirectory() as scratch:
        for done, (name, row) in enumerate(run_all(todo, recipes, arguments.workers, Path(scratch)), 1):
            before = known.get(name, {})
            known[name] = row | {"outcomes": before.get("outcomes", {}) | row["outcomes"]} if "outcomes" in row else row
            told = row.get("unmade") or " ".join(f"{k} {v['outcome']}" for k, v in row["outcomes"].items())
            print(f"{done}/{len(todo)} {name}: {told} ({row['seconds']} s)", flush=True)
            if not arguments.sample:
                _keep(known, results)
    return 0 if judged(known) else 1


def _keep(rows: dict[str, Row], results: Path) -> None:
    order = {f"{kind}/{t}": None for kind in tiny.KINDS for t in tiny.types(kind)}
    tools = {name: importlib.metadata.version(name) for name in ("transformers", "optimum-intel", "compressed-tensors")}
    whole = {"tools": tools, "types": {name: rows[name] for name in order if name in rows}}
    before = results.with_suffix(".tmp")
    before.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    before.replace(results)


def judged(rows: dict[str, Row]) -> bool:
    """Print the counts and hold them against what is wanted."""
    counts = counted(rows)
    table = [{"recipe": name, **count} for name, count in counts.items()]
    columns = [Column(key, key) for key in ("recipe", "works", "refused", "broken")]
    unmade = sum("unmade" in row for row in rows.values())
    report("coverage", f"{len(rows)} types, {unmade} cannot be made tiny", columns, table, whole=False)
    shares = {name: count["works"] / max(1, count.total()) for name, count in counts.items()}
    broken = sum(count["broken"] for count in counts.values())
    return verdicts(
        [
            ("broken", broken, "<=", 0),
            ("rounded to nearest", shares["rtn"], ">=", 0.98),
            ("calibrated", shares["compensated"], ">=", 0.95),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
