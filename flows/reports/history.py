"""What became of a job, time after time: `HOME/history/<release>.jsonl`, one line for each time it was judged."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from flows.manifest.model import Rung
from flows.planning.jobs import Job
from flows.planning.kinds import Judged
from flows.store import Record, Store
from gates.spec import harm_gate


def note_outcome(job: Job, rung: Rung, verdict: Record[Judged], store: Store) -> None:
    """Add a line; a torn last line, from a run that was killed, is ended first."""
    gates = {gate.name: gate.value for gate in verdict.result.gates}
    entry = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": rung.name,
        "passed": verdict.result.passed,
        "harm": gates.get(harm_gate(job.original.task)),
        "size": gates.get("size"),
        "verdict": verdict.key,
    }
    path = store.home / "history" / f"{job.release.replace('/', '--')}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        torn = file.tell() and not path.read_bytes().endswith(b"\n")
        file.write(b"\n" * bool(torn) + json.dumps(entry).encode() + b"\n")


def history(store: Store, release: str) -> list[dict[str, Any]]:
    """Return the lines of a release, oldest first; a torn one is left out."""
    path = store.home / "history" / f"{release.replace('/', '--')}.jsonl"
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with suppress(ValueError):
            lines.append(json.loads(line))
    return lines
