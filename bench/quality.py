"""Quality and seconds at int4, asymmetric, groups of 64: ours against neural-compressor, NNCF and auto-round.

`python -m bench.quality [--only PATTERN]` compares on the demo model and on a copy with planted outlier channels that
computes the same function. Every side runs in a process of its own, one after another.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench.models import MODEL, plant_outliers
from bench.peers import PEERS
from bench.process import measured
from bench.score import ROWS
from bench.table import Column, ratio, report, seconds, verdicts

LEAD = "auto-round, 200 iterations"
COLUMNS = (
    Column("name", "recipe"),
    Column("kld", "KLD (nats)", lambda v: f"{v:.5f}"),
    Column("kld_ratio", f"KLD / {LEAD.split(',')[0]}'s", ratio),
    Column("perplexity_change", "perplexity", lambda v: f"{v:+.2%}"),
    Column("top1", "top-1", lambda v: f"{v:.2%}"),
    Column("quantizing_seconds", "seconds", seconds),
    Column("seconds_ratio", f"seconds / {LEAD.split(',')[0]}'s", lambda v: f"{v:.3f} x"),
    Column("process_seconds", "whole process", seconds),
    Column("peak_bytes", "peak (GB)", lambda v: f"{v / 1e9:.2f}"),
)


def side(peer: str, model: Path, scratch: Path) -> dict[str, Any]:
    """Everything measured of one peer on one model."""
    directory = Path(tempfile.mkdtemp(dir=scratch))
    taken = measured("bench.side", peer, model, directory, str(ROWS), log=directory / "log")
    figures = json.loads((directory / "side.json").read_text("utf-8"))
    figures["perplexity_change"] = figures["perplexity"] / figures["original_perplexity"] - 1
    return {"name": peer, **figures, "process_seconds": taken.seconds, "peak_bytes": taken.peak_bytes}


def compare(name: str, model: Path, peers: list[str], scratch: Path) -> dict[str, dict[str, Any]]:
    """Run, print and save one table; the rows by name."""
    rows = []
    for peer in peers:
        rows.append(side(peer, model, scratch))
        print(f"{name}: {peer}: KLD {rows[-1]['kld']:.5f}, {rows[-1]['quantizing_seconds']:.1f} s", flush=True)
    by_name = {row["name"]: row for row in rows}
    if LEAD in by_name:
        for row in rows:
            row["kld_ratio"] = row["kld"] / by_name[LEAD]["kld"]
            row["seconds_ratio"] = row["quantizing_seconds"] / by_name[LEAD]["quantizing_seconds"]
    report(
        f"quality-{name}",
        f"{name}: int4 asymmetric, groups of 64, {ROWS} x 256 tokens",
        COLUMNS,
        rows,
        len(rows) == len(PEERS),
    )
    return by_name


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", default="*", help="peers to run, a pattern such as 'quantmill*'")
    arguments.add_argument("--model", choices=("demo", "outliers"), help="one of the two models")
    chosen = arguments.parse_args()
    peers = [peer for peer in PEERS if fnmatchcase(peer, chosen.only)]
    with tempfile.TemporaryDirectory() as scratch:
        outliers = Path(scratch) / "outliers"
        plant_outliers(MODEL, outliers)
        models = {"demo": MODEL, "outliers": outliers}
        tables = {
            name: compare(name, model, peers, Path(scratch))
            for name, model in models.items()
            if chosen.model in (None, name)
        }
    if len(peers) == len(PEERS) and len(tables) == 2 and not verdicts(targets(tables)):
        raise SystemExit(1)


def targets(tables: dict[str, dict[str, dict[str, Any]]]) -> list[tuple[str, float, str, float]]:
    """What the comparison must show."""
    demo, planted = tables["demo"], tables["outliers"]
    ours = [row for name, row in demo.items() if name.startswith("quantmill")]
    best = min(ours, key=lambda row: row["kld"])
    # Both sides search the clipping range: neural-compressor's AWQ does so by default.
    awq, teq = demo["quantmill awq + mse"], demo["quantmill teq + mse"]
    both, inc_awq = "quantmill awq + compensated", "neural-compressor AWQ"
    fast = min((r for r in ours if r["kld"] <= demo[LEAD]["kld"]), key=lambda r: r["quantizing_seconds"], default=best)
    faster = min((r for r in ours if r["kld"] <= demo[inc_awq]["kld"]), key=lambda r: r["quantizing_seconds"])
    return [
        (f"KLD of the best ({best['name']}) / auto-round's", best["kld"] / demo[LEAD]["kld"], "<=", 0.9),
        ("KLD of awq + mse / neural-compressor's AWQ", awq["kld"] / demo[inc_awq]["kld"], "<=", 0.95),
        ("KLD of teq + mse / awq + mse", teq["kld"] / awq["kld"], "<=", 1.0),
        (f"KLD of {fast['name']} / auto-round's", fast["kld"] / demo[LEAD]["kld"], "<=", 1.0),
        ("... and auto-round's seconds / its", demo[LEAD]["quantizing_seconds"] / fast["quantizing_seconds"], ">=", 10),
        (
            f"neural-compressor AWQ's seconds / {faster['name']}'s, of no larger KLD",
            demo[inc_awq]["quantizing_seconds"] / faster["quantizing_seconds"],
            ">=",
            10,
        ),
        ("outliers: KLD of RTN / awq + compensated", planted["quantmill rtn"]["kld"] / planted[both]["kld"], ">=", 30),
        ("outliers: neural-compressor AWQ / it", planted[inc_awq]["kld"] / planted[both]["kld"], ">=", 2),
    ]


if __name__ == "__main__":
    main()
