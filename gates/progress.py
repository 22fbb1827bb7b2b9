"""Progress on standard output: one JSON object per line, which the parent process draws."""

from __future__ import annotations

import json


def report(what: str, done: int, total: int) -> None:
    """Say that `done` of `total` units of `what` are finished."""
    print(json.dumps({"progress": {"what": what, "done": done, "total": total}}), flush=True)
