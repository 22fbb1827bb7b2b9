"""Progress of a step on its standard output: one JSON object per line, which whoever started the process draws."""

from __future__ import annotations

import json


def report(what: str, done: int, total: int) -> None:
    """Say that `done` of `total` units are behind us, and that `what` is being done."""
    print(json.dumps({"progress": {"what": what, "done": done, "total": total}}), flush=True)
