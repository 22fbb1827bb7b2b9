"""One JSON line on standard output per event, for the parent that draws the bar."""

from __future__ import annotations

import json


def progress(what: str, done: int, total: int) -> None:
    """Say that `done` of `total` steps are finished and what is happening now."""
    print(json.dumps({"progress": {"what": what, "done": done, "total": total}}), flush=True)
