"""A comparison as a table for people and as JSON for later."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
TOOLS = ("torch", "transformers", "auto-round", "neural_compressor_pt", "nncf", "openvino", "optimum-intel")


@dataclass(frozen=True)
class Column:
    """One column: the key in a row, its heading, and how a value is shown."""

    key: str
    heading: str
    show: Callable[[Any], str] = str


def gigabytes(value: float) -> str:
    return f"{value / 1e9:.2f}"


def seconds(value: float) -> str:
    return f"{value:.1f}"


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} x"


def report(
    name: str, title: str, columns: Sequence[Column], rows: list[dict[str, Any]], whole: bool = True, **more: Any
) -> None:
    """Print the table and, of a `whole` comparison, write `bench/results/{name}.json`."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column.heading, justify="left" if column.key == columns[0].key else "right")
    for row in rows:
        table.add_row(*("" if row.get(c.key) is None else c.show(row[c.key]) for c in columns))
    Console(width=180).print(table)
    if not whole:
        return
    machine = {"cpu": platform.processor() or platform.machine(), "system": platform.system()}
    result = {"title": title, "rows": rows, **more, "machine": machine, "tools": {t: version(t) for t in TOOLS}}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def verdicts(checks: list[tuple[str, float, str, float]]) -> bool:
    """Print and judge `(what, value, "<=" or ">=", limit)`; whether all hold."""
    table = Table(title="Targets")
    for heading in ("what", "measured", "wanted", ""):
        table.add_column(heading)
    held = []
    for what, value, sense, limit in checks:
        held.append(value <= limit if sense == "<=" else value >= limit)
        table.add_row(what, f"{value:.3g}", f"{sense} {limit:g}", "held" if held[-1] else "[bold red]missed[/]")
    Console(width=180).print(table)
    return all(held)
