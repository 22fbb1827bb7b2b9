"""One JSON line on standard output per event, for the parent that draws the bar; none where nobody asked to be told."""

from __future__ import annotations

import json

_told = False


def tell() -> None:
    """Write events from now on: the door has a parent that reads them, a caller in this process has not."""
    global _told
    _told = True


def progress(what: str, done: int, total: int) -> None:
    """Say that `done` of `total` steps are finished and what is happening now."""
    if _told:
        print(json.dumps({"progress": {"what": what, "done": done, "total": total}}), flush=True)
