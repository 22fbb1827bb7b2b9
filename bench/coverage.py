"""Which architectures can be milled: every language model type of transformers, made tiny, by every kind of recipe.

`python -m bench.coverage [TYPE …] [--kind KIND] [--sample] [--workers N] [--fresh]`. What `bench/results/coverage.json` has is
kept, unless types are named or everything is asked for afresh; so an interrupted run goes on where it was.

A type by a recipe *works* when the stock loader reads the artifact and its output is near the original's, is *refused* when
the mill says why it cannot, and is *broken* otherwise. What is found is written down in
`docs/coverage.md`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path

import torch
import transformers

from bench import tiny
from bench.coverage_page import PAGE, counted, page
from bench.forks import run_all
from bench.milled import HOW, OTHERS, RECIPES, Row
from bench.table import RESULTS, Column, report, verdicts

SAMPLE = (
    ("causal", "granite"),
    ("causal", "gemma2"),
    ("causal", "gpt2"),
    ("causal", "mamba"),
    ("masked", "modernbert"),
    ("seq2seq", "bart"),
    ("encoder", "distilbert"),
)
"""A chain, alternating attention, Conv1D, no attention at all, an encoder, two stacks, an encoder without a head."""


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
    if not arguments.sample:
        PAGE.write_text(page(json.loads(results.read_text("utf-8"))), "utf-8")
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
