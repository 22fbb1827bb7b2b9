"""Do a step unless it is done: look it up, run its door in a child, seal what it made."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from catalog.errors import Fault
from flows.execution import child
from flows.execution.child import Network
from flows.execution.progress import watcher
from flows.files.fingerprint import fingerprint
from flows.planning.jobs import Step
from flows.store import DamagedEntry, Record, Store

log = logging.getLogger(__name__)


def known(store: Store, step: Step) -> Record | None:
    """Return the record of a finished step after reading its files again; a damaged entry is removed, to be made anew."""
    record = store.record(step.kind, step.key)
    if record is None:
        return None
    try:
        store.verify(record)
    except DamagedEntry as damage:
        log.warning("%s It is made anew now.", damage)
        store.forget(step.kind, step.key)
        return None
    return record


def perform(
    store: Store,
    step: Step,
    label: str,
    module: str,
    request: dict[str, Any],
    *,
    network: Network = "none",
) -> Record:
    """Return the step's record, running `module` in a child when there is none. Raises a Fault, noted in the store."""
    if record := known(store, step):
        return record
    with store.heavy():
        if record := known(store, step):  # another process did it while this one waited
            return record
        scratch = store.scratch(step.kind, step.key)
        ended = _follow(store, [step], label, module, request, scratch, network=network)
        result = json.loads((scratch / "out" / "result.json").read_bytes())
        return store.seal(
            scratch,
            step.kind,
            step.key,
            inputs=step.inputs,
            result=result,
            seconds=ended.seconds,
            peak_memory_bytes=ended.peak_memory_bytes,
        )


def perform_together(store: Store, steps: list[Step], label: str, module: str, request: dict[str, Any]) -> list[Record]:
    """Do several steps in one child that writes `OUT/<n>/` for the n-th step; each becomes an entry of its own.

    An attempt that was interrupted is handed its own unfinished directory again, to go on from.
    """
    together = fingerprint([step.key for step in steps])
    with store.heavy():
        done = [known(store, step) for step in steps]
        if all(done):  # another process did it while this one waited
            return [record for record in done if record]
        scratch = store.scratch("together", together, resume=True)
        ended = _follow(store, steps if len(steps) == 1 else [], label, module, request, scratch)
        result = json.loads((scratch / "out" / "result.json").read_bytes())
        made = result.pop("targets")
        records = []
        for number, step in enumerate(steps):
            own = store.scratch(step.kind, step.key)
            (own / "out").rmdir()
            (scratch / "out" / str(number)).rename(own / "out")
            for name in ("log.txt", "request.json"):
                shutil.copy(scratch / name, own / name)
            report = {**result, **made[str(number)], "made_together": len(steps), "place": str(number)}
            records.append(
                store.seal(
                    own,
                    step.kind,
                    step.key,
                    inputs=step.inputs,
                    result=report,
                    seconds=ended.seconds,
                    peak_memory_bytes=ended.peak_memory_bytes,
                )
            )
        shutil.rmtree(scratch)
        return records


def note(store: Store, step: Step, result: dict[str, Any], files: dict[str, str] | None = None) -> Record:
    """Seal a step that was worked out here, in no time, with the texts it comes with."""
    with store.heavy():
        scratch = store.scratch(step.kind, step.key)
        for name, text in (files or {}).items():
            (scratch / "out" / name).write_text(text, encoding="utf-8")
        return store.seal(
            scratch, step.kind, step.key, inputs=step.inputs, result=result, seconds=0.0, peak_memory_bytes=0
        )


def _follow(
    store: Store,
    steps: list[Step],
    label: str,
    module: str,
    request: dict[str, Any],
    scratch: Path,
    *,
    network: Network = "none",
) -> child.Ended:
    tell = watcher()
    tell.started(label)

    def progress(what: str, done: int, total: int) -> None:
        tell.moved(label, what, done, total)

    try:
        ended = child.run(module, request, scratch, progress=progress, network=network)
    except Fault as error:
        for step in steps:
            store.fail(step.kind, step.key, error)
        tell.ended(label, str(error), ok=False)
        raise
    except BaseException:
        tell.ended(label, "interrupted", ok=False)
        raise
    tell.ended(label, f"{ended.seconds:.1f} s, {ended.peak_memory_bytes / 2**30:.1f} GB", ok=True)
    return ended
