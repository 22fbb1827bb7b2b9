"""Growth of peak memory with depth: 11, 22 and 44 blocks of the 1.1 B Llama shape; and one 8 B shape.

`python -m bench.depth [--scratch DIR] [--large] [--depths 11 22 44]`; --large adds the first four blocks of an 8 B shape
(5.6 GB) for the calibrated recipe and for RTN.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from bench.cost import CALIBRATED, RTN, by_entrypoint
from bench.models import LLAMA_1B, LLAMA_8B, write_random
from bench.table import Column, gigabytes, ratio, report, verdicts

DEPTHS = (11, 22, 44)
RECIPES = {"rtn": RTN, "awq + compensated": CALIBRATED}
COLUMNS = (
    Column("name", "recipe"),
    Column("shape", "shape"),
    Column("model_bytes", "model (GB)", gigabytes),
    Column("peak_bytes", "peak (GB)", gigabytes),
    Column("growth", "peak / half the depth", ratio),
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--scratch", type=Path, help="a directory with room for the models, 12 GB")
    arguments.add_argument("--large", action="store_true", help="the 8 B shape, too")
    arguments.add_argument("--depths", type=int, nargs="*", default=DEPTHS, help="blocks of the 1.1 B shape")
    chosen = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    checks: list[tuple[str, float, str, float]] = []
    shapes = [(f"1.1 B, {depth} blocks", LLAMA_1B, depth) for depth in chosen.depths]
    if chosen.large:
        shapes.append(("8 B, 4 of 32 blocks", LLAMA_8B, 4))
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
        before: dict[str, int] = {}
        for label, shape, depth in shapes:
            model = Path(scratch) / "model"
            size = write_random(model, shape, num_hidden_layers=depth)
            for name, recipe in RECIPES.items():
                row = by_entrypoint(name, model, Path(scratch), recipe) | {"shape": label, "model_bytes": size}
                if shape is LLAMA_8B:
                    limit = 4.0 if recipe.calibrated else 1.2
                    checks.append((f"{name}, {label}: peak (GB)", row["peak_bytes"] / 1e9, "<=", limit))
                elif name in before:
                    row["growth"] = row["peak_bytes"] / before[name]
                    checks.append((f"{name}, {label}: peak over half the depth's", row["growth"], "<=", 1.05))
                before[name] = row["peak_bytes"]
                del row["process_seconds"]  # bench.memory is where seconds are compared
                rows.append(row)
                print(f"{label}: {name}: {row['peak_bytes'] / 1e9:.2f} GB", flush=True)
            shutil.rmtree(model)
    whole = chosen.large and tuple(chosen.depths) == DEPTHS
    report("depth", "Peak memory and depth", COLUMNS, rows, whole)
    if not verdicts(checks):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
