"""One JSON line on standard output per event, read by whoever started this process."""

from __future__ import annotations

import json


def progress(what: str, done: int, total: int) -> None:
    """Say that `done` of `total` units of `what` are behind us."""
    print(json.dumps({"progress": {"what": what, "done": done, "total": total}}), flush=True)
