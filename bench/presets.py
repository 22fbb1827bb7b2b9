"""What each preset does to the demo model: `python -m bench.presets [--only PATTERN]`.

The KL divergence of each is in bench/results/presets.json: `flows.manifest.choosing` takes its words for quality from these
figures. Every artifact is read by its stock client, with that client's own defaults; presets for encoders, and those of
formats that are read under an interpreter of their own, are left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from fnmatch import fnmatchcase
from io import StringIO
from pathlib import Path

from bench.models import MODEL
from bench.score import ROWS, calibration, score
from bench.table import RESULTS, Column, report
from catalog.engines import ENGINES
from catalog.formats import FORMATS
from catalog.runtime import RuntimeOptions
from flows.manifest.presets import shipped
from gates.clients import client
from quantizers.entrypoint import run
from quantizers.recipe import Recipe
from quantizers.request import Request

FILE = RESULTS / "presets.json"
COLUMNS = (Column("name", "preset"), Column("kld", "KLD", lambda value: f"{value:.5f}"))


def passes(recipes: Mapping[str, Recipe]) -> list[dict[str, Recipe]]:
    """What is made in one process: all that streams together, and anything else by itself."""
    streamed = {name: recipe for name, recipe in recipes.items() if ENGINES[recipe.engine].streams}
    return [each for each in (streamed, *({name: recipes[name]} for name in recipes.keys() - streamed.keys())) if each]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--only", default="*", help="presets to measure, a pattern such as 'ov-*'")
    chosen = arguments.parse_args()
    recipes = {
        name: recipe
        for name, recipe in shipped().recipes.items()
        if fnmatchcase(name, chosen.only) and not recipe.activations and FORMATS[recipe.format].interpreter is None
    }
    measured: dict[str, float] = json.loads(FILE.read_text()) if FILE.exists() else {}
    rows = []
    for together in passes(recipes):
        with tempfile.TemporaryDirectory() as directory:
            out = Path(directory)
            with redirect_stdout(StringIO()):  # its progress
                run(Request(model=MODEL, targets=together, calibration=calibration(ROWS)), out)
            for name, recipe in together.items():
                loaded = client.load(out / name, recipe.format, RuntimeOptions(), "text-generation")
                kld = score(MODEL, lambda row, loaded=loaded: loaded.logits(row[0])[None].float())["kld"]  # type: ignore[misc]
                rows.append({"name": name, "kld": kld})
                measured[name] = round(kld, 5)
                print(f"{name}: {kld:.5f}", flush=True)
        known = {name: measured[name] for name in shipped().recipes if name in measured}
        FILE.write_text(json.dumps(known, indent=1) + "\n")
    report("presets", f"Presets on the demo model, {ROWS} rows", COLUMNS, rows, whole=False)
    FILE.write_text(
        json.dumps({name: measured[name] for name in shipped().recipes if name in measured}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
