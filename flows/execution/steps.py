"""Do a step unless it is done: look it up, run its program in a child, seal what it made."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from catalog.errors import Fault
from catalog.interpreters import engines_of
from catalog.secrets import scrub
from flows.execution import child
from flows.execution.child import Network
from flows.execution.lock import heavy
from flows.execution.progress import watcher
from flows.files.fingerprint import fingerprint
from flows.planning.kinds import Artifact
from flows.step import Entry, Kind, Result, Step
from flows.store import DamagedEntry, Record, Store
from quantizers.request import STATISTICS, Statistics
from quantizers.request import Result as Made

log = logging.getLogger(__name__)

RESUMED = "together-"
"""What the name of a scratch directory begins with that an interrupted attempt goes on from."""


def known(store: Store, entry: Entry[Result]) -> Record[Result] | None:
    """Return the record of a finished step after reading its files again; None for a damaged one, to be made anew."""
    record = store.record(entry)
    if record is None:
        return None
    try:
        store.verify(entry, record)
    except DamagedEntry as damage:
        log.warning("%s", damage)
        return None
    return record


def perform(
    store: Store,
    step: Step[Result],
    label: str,
    request: BaseModel,
    *,
    network: Network = "none",
    anew: bool = False,
    resume: bool = False,
) -> Record[Result]:
    """Return the step's record, running its program in a child when there is none, or when it is to be done `anew`.

    With `resume` an attempt that was interrupted is handed its own unfinished directory again, to go on from.
    Raises a Fault, noted in the store.
    """
    before = known(store, step)
    if before and not anew:
        return before
    with heavy(store, label):
        record = known(store, step)
        if record and record != before:  # another process did it while this one waited
            return record
        scratch = store.scratch(f"{RESUMED}{step.name}" if resume else step.name, resume=resume)
        ended = _follow(store, [step], step.kind, label, request, scratch, network=network)
        result = step.kind.result.model_validate_json((scratch / "out" / "result.json").read_bytes())
        return store.seal(step, scratch, result, **asdict(ended))


def perform_together(
    store: Store,
    steps: list[Step[Artifact]],
    label: str,
    request: BaseModel,
    beside: Step[Statistics] | None = None,
) -> None:
    """Do several steps in one child that writes `OUT/<n>/` for the n-th step; each becomes an entry of its own.

    So does what the child collected over the text, as the step `beside` them. An attempt that was interrupted is handed its own
    unfinished directory again, to go on from.
    """
    together = fingerprint([step.key for step in steps])
    with heavy(store, label):
        if all(known(store, step) for step in steps):  # another process did it while this one waited
            return
        scratch = store.scratch(f"{RESUMED}{together}", resume=True)
        ended = _follow(store, steps if len(steps) == 1 else [], steps[0].kind, label, request, scratch)
        made = Made.model_validate_json((scratch / "out" / "result.json").read_bytes())
        if beside and (scratch / "out" / STATISTICS).is_dir():
            own = _own(store, beside, scratch, STATISTICS)
            collected = Statistics.model_validate_json((own / "out" / "result.json").read_bytes())
            store.seal(beside, own, collected, **asdict(ended))
        for number, step in enumerate(steps):
            own = _own(store, step, scratch, str(number))
            result = Artifact(
                **dict(made.targets[str(number)]),
                tools=made.tools,
                compute=made.compute,
                made_together=len(steps),
                place=str(number),
            )
            store.seal(step, own, result, **asdict(ended))
        shutil.rmtree(scratch)


def _own(store: Store, step: Step[Any], scratch: Path, part: str) -> Path:
    """Give a part of what one child made a scratch directory of its own, to be sealed."""
    own = store.scratch(step.name)
    (own / "out").rmdir()
    (scratch / "out" / part).rename(own / "out")
    for name in ("log.txt", "request.json"):
        shutil.copy(scratch / name, own / name)
    return own


def note(store: Store, step: Step[Result], result: Result, files: dict[str, str] | None = None) -> Record[Result]:
    """Seal a step that was worked out here, in no time, with the texts it comes with."""
    with heavy(store, step.kind.name):
        scratch = store.scratch(step.name)
        for name, text in (files or {}).items():
            (scratch / "out" / name).write_text(scrub(text), encoding="utf-8")
        return store.seal(step, scratch, result)


def _follow(
    store: Store,
    steps: list[Step[Any]],
    kind: Kind[Any],
    label: str,
    request: BaseModel,
    scratch: Path,
    *,
    network: Network = "none",
) -> child.Ended:
    tell = watcher()
    tell.started(label)

    def progress(what: str, done: int, total: int) -> None:
        tell.moved(label, what, done, total)

    try:
        ended = child.run(
            kind.program,
            request,
            scratch,
            progress=progress,
            network=network,
            engines=engines_of(store.home),
            imports=kind.imports,
        )
    except Fault as error:
        for step in steps:
            store.fail(step, error)
        tell.ended(label, str(error), ok=False)
        raise
    except BaseException:
        tell.ended(label, "interrupted", ok=False)
        raise
    tell.ended(label, f"{ended.seconds:.1f} s, {ended.peak_memory_bytes / 2**30:.1f} GB", ok=True)
    return ended
