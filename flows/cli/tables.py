"""Tables in the house style, and figures as a person reads them."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

STYLES = {"released": "green", "failed": "red", "stale": "yellow", "quarantined": "red", "step failed": "red"}


def gigabytes(size: float) -> str:
    """Return a size for a person."""
    return f"{size / 2**30:.1f} GB" if size >= 2**29 else f"{size / 2**20:.1f} MB"


def duration(seconds: float) -> str:
    """Return a duration for a person."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def table(*columns: str, title: str | None = None) -> Table:
    """Return an empty table in the house style; a column whose name starts with `>` holds numbers."""
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, padding=(0, 1))
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
        made.columns[-1].no_wrap = column not in ("recipe", columns[-1])
    return made


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested facts flat, by dotted name; the per-document rows of a record left aside."""
    if isinstance(value, dict):
        # What a gate shows are its numbers in words.
        items = [(key, item) for key, item in value.items() if key != "shown"]
        return {name: leaf for key, item in items for name, leaf in leaves(item, f"{prefix}{key}.").items()}
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        named = {str(item.get("name", n)): item for n, item in enumerate(value) if isinstance(item, dict)}
        return {} if prefix.endswith("documents.") else leaves(named, prefix)
    return {prefix.rstrip("."): value}


def facts(found: dict[str, Any]) -> Table:
    """Return nested facts as a table of two columns."""
    made = table("", "")
    for name, value in leaves(found).items():
        shown = (
            gigabytes(value) if name.endswith("_bytes") else ", ".join(value) if isinstance(value, list) else str(value)
        )
        made.add_row(name.removesuffix("_bytes").replace("_", " ").replace(".", ": "), shown or "none")
    return made
