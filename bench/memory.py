"""Peak memory and seconds on a 1.1 B Llama shape (2.2 GB of bfloat16), 32 x 256 calibration tokens, against peers.

`python -m bench.memory [--only PATTERN] [--blocks N] [--scratch DIR]`; with every peer it takes three quarters of an hour
and 8 GB, most of it for NNCF's GPTQ: with fewer blocks the seconds shrink and the ratios of a block stay.
"""

from __future__ import annotations

import argparse
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench.cost import CALIBRATED, IR, RTN, by_entrypoint, peer
from bench.models import LLAMA_1B, write_random
from bench.table import Column, gigabytes, ratio, report, seconds, verdicts

OURS = {"quantmill rtn": RTN, "quantmill awq + compensated": CALIBRATED, "quantmill rtn as OpenVINO IR": IR}
INC, ROUND, NNCF, GPTQ = "neural-compressor RTN", "auto-round, 0 iterations", "NNCF AWQ + SE", "NNCF GPTQ"
BLOCK_BYTES = 2 * (2 * 2048 * (2048 + 256) + 3 * 2048 * 5632)
"""Of one block in bfloat16."""
COLUMNS = (
    Column("name", "recipe"),
    Column("peak_bytes", "peak (GB)", gigabytes),
    Column("memory_ratio", "peak / model", ratio),
    Column("artifact_bytes", "artifact (GB)", gigabytes),
    Column("process_seconds", "seconds, whole process", seconds),
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", default="*", help="sides to run, a pattern such as 'quantmill*'")
    arguments.add_argument("--blocks", type=int, default=LLAMA_1B["num_hidden_layers"])
    arguments.add_argument("--scratch", type=Path, help="a directory with 10 GB of room")
    chosen = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
        model = Path(scratch) / "model"
        size = write_random(model, LLAMA_1B, num_hidden_layers=chosen.blocks)
        sides = (*OURS, INC, ROUND, NNCF, GPTQ)
        for name in sides:
            if not fnmatchcase(name, chosen.only):
                continue
            ours = name in OURS
            row = by_entrypoint(name, model, Path(scratch), OURS[name]) if ours else peer(name, model, Path(scratch))
            rows.append({**row, "memory_ratio": row["peak_bytes"] / size})
            print(f"{name}: {row['peak_bytes'] / 1e9:.2f} GB, {row['process_seconds']:.0f} s", flush=True)
    report(
        "memory" if chosen.blocks == LLAMA_1B["num_hidden_layers"] else f"memory-{chosen.blocks}-blocks",
        f"{chosen.blocks} blocks of the 1.1 B Llama shape, {size / 1e9:.1f} GB of bfloat16",
        COLUMNS,
        rows,
        len(rows) == len(sides),
        model_bytes=size,
    )
    if not verdicts(targets({row["name"]: row for row in rows})):
        raise SystemExit(1)


def targets(sides: dict[str, dict[str, Any]]) -> list[tuple[str, float, str, float]]:
    """What the comparison must show, of the sides that ran."""
    rtn, calibrated, exported = OURS
    checks = []
    for name, limit in ((rtn, 1.0), (calibrated, 1.5)):
        if name in sides:
            checks.append((f"peak of {name} (GB)", sides[name]["peak_bytes"] / 1e9, "<=", limit))
    if exported in sides:
        peak, size = (sides[exported][key] for key in ("peak_bytes", "artifact_bytes"))
        checks.append(
            (f"peak of {exported} / (1.25 x the IR + a block)", peak / (1.25 * size + BLOCK_BYTES), "<=", 1.0)
        )
    for name, other, limit in ((rtn, INC, 1 / 3), (calibrated, NNCF, 0.6), (calibrated, GPTQ, 0.25)):
        if name in sides and other in sides:
            share = sides[name]["process_seconds"] / sides[other]["process_seconds"]
            checks.append((f"seconds of {name} / {other}", share, "<=", limit))
    return checks


if __name__ == "__main__":
    main()
