"""Six targets of one model in one run, against six runs: `python -m bench.targets [--blocks N] [--scratch DIR]`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.cost import by_entrypoint
from bench.models import LLAMA_1B, write_random
from bench.table import Column, gigabytes, report, seconds, verdicts
from quantizers.recipe import Recipe

RECIPES = {
    "int8": Recipe(dtype="int8", group_size=-1),
    "int4 rtn": Recipe(dtype="int4", symmetric=False, group_size=64),
    "int4 compensated": Recipe(dtype="int4", symmetric=False, group_size=64, rounding="compensated"),
    "int4 awq": Recipe(dtype="int4", symmetric=False, group_size=64, transform="awq"),
    "int4 awq + compensated": Recipe(symmetric=False, group_size=64, transform="awq", rounding="compensated"),
    "nf4": Recipe(dtype="nf4", format="bitsandbytes", group_size=64),
}
COLUMNS = (
    Column("name", "run"),
    Column("process_seconds", "seconds, whole process", seconds),
    Column("peak_bytes", "peak (GB)", gigabytes),
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--blocks", type=int, default=LLAMA_1B["num_hidden_layers"])
    arguments.add_argument("--scratch", type=Path, help="a directory with 6 GB of room")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
        model = Path(scratch) / "model"
        write_random(model, LLAMA_1B, num_hidden_layers=chosen.blocks)
        rows = [by_entrypoint("all six at once", model, Path(scratch), *RECIPES.values())]
        rows += [by_entrypoint(name, model, Path(scratch), recipe) for name, recipe in RECIPES.items()]
    separate_seconds = sum(row["process_seconds"] for row in rows[1:])
    report(
        "targets",
        f"Six targets of {chosen.blocks} blocks of the 1.1 B shape",
        COLUMNS,
        rows,
        apart_seconds=separate_seconds,
    )
    if not verdicts([("seconds of one run / six runs", rows[0]["process_seconds"] / separate_seconds, "<=", 0.5)]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
