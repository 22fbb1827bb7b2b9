"""What all blocks of a model take, by what some counts of them do."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from bench.table import Column, gigabytes

LAW = (
    Column("name", "of"),
    Column("block_bytes", "a block (GB)", gigabytes),
    Column("rest_bytes", "the rest (GB)", gigabytes),
    Column("whole_bytes", "all blocks (GB)", gigabytes),
)


def law(rows: list[dict[str, Any]], whole: int, leave: Collection[str] = ()) -> list[dict[str, Any]]:
    """The straight line of each name through its peaks, by least squares, and what it comes to with all blocks.

    rows: with `name`, `blocks` and `peak_bytes`; those of one count of blocks have no line.
    leave: names that have none.
    """
    found = []
    for name in dict.fromkeys(row["name"] for row in rows if row["name"] not in leave):
        peaks = {row["blocks"]: row["peak_bytes"] for row in rows if row["name"] == name and row["peak_bytes"]}
        if len(peaks) < 2:
            continue
        block, rest = np.polyfit(list(peaks), list(peaks.values()), 1)
        line = {"block_bytes": float(block), "rest_bytes": float(rest), "whole_bytes": float(rest + block * whole)}
        found.append({"name": name, **line, "blocks": list(peaks)})
    return found
