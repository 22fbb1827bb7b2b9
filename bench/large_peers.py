"""What quantizing the 8 B Llama shape takes in memory, against peers: some counts of its blocks, and a straight line.

    python -m bench.large_peers [--blocks N …] [--only PATTERN] [--scratch DIR]

All read 32 x 256 calibration tokens where they read text, each in a process of its own, one after the other. Weights are random:
they measure cost.
"""

from __future__ import annotations

import argparse
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench.cost import CALIBRATED, RTN, by_entrypoint, peer
from bench.law import LAW, law
from bench.models import LLAMA_8B, write_random
from bench.table import Column, gigabytes, report, seconds

OURS = {"quantmill rtn": RTN, "quantmill awq + compensated": CALIBRATED}
PEERS = ("neural-compressor RTN", "auto-round, 0 iterations", "NNCF AWQ + SE")
COLUMNS = (
    Column("blocks", "blocks"),
    Column("name", "recipe"),
    Column("model_bytes", "model (GB)", gigabytes),
    Column("peak_bytes", "peak (GB)", gigabytes),
    Column("process_seconds", "seconds, whole process", seconds),
)


def main() -> None:
    """Print the tables and write `bench/results/large_peers.json`."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--only", default="*", help="sides to run, a pattern such as 'quantmill*'")
    arguments.add_argument(
        "--blocks", type=int, nargs="+", default=(2, 4), help="counts of blocks; four want 20 GB of memory"
    )
    arguments.add_argument("--scratch", type=Path, help="a directory with 10 GB of room")
    chosen = arguments.parse_args()
    sides = [name for name in (*OURS, *PEERS) if fnmatchcase(name, chosen.only)]
    rows: list[dict[str, Any]] = []
    for blocks in chosen.blocks:
        with tempfile.TemporaryDirectory(dir=chosen.scratch) as directory:
            scratch, model = Path(directory), Path(directory) / "model"
            size = write_random(model, LLAMA_8B, num_hidden_layers=blocks)
            for name in sides:
                row = by_entrypoint(name, model, scratch, OURS[name]) if name in OURS else peer(name, model, scratch)
                rows.append(row | {"blocks": blocks, "model_bytes": size})
                print(
                    f"{blocks} blocks: {name}: {row['peak_bytes'] / 1e9:.2f} GB, {row['process_seconds']:.0f} s",
                    flush=True,
                )
    whole = int(LLAMA_8B["num_hidden_layers"])
    line = law(rows, whole)
    report("large-peers-law", f"8 B Llama shape: {whole} blocks by a straight line", LAW, line, whole=False)
    complete = len(sides) == len(OURS) + len(PEERS) and len(chosen.blocks) > 1
    report("large_peers", "blocks of the 8 B Llama shape", COLUMNS, rows, complete, law=line, whole_blocks=whole)


if __name__ == "__main__":
    main()
