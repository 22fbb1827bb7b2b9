"""One JSON line on standard output per event, read by whoever started this process."""

from __future__ import annotations

import json
import sys


def progress(what: str, done: int, total: int) -> None:
    """Say that `done` of `total` units of this run are behind us and that `what` is being done."""
    print(json.dumps({"progress": {"what": what, "done": done, "total": total}}), file=sys.stdout, flush=True)
