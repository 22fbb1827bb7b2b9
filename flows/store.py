"""The store: finished work by key. An entry is whole when, and only when, its `record.json` is there.

HOME/store/<step>/<key>/record.json   what went in, what came out
HOME/store/<step>/<key>/out/          the files of the step
HOME/scratch/<step>-<key>/            work under way; moved into place by one rename
HOME/failures/<step>-<key>.json       what went wrong, and how often
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Generic

from pydantic import BaseModel, ConfigDict, ValidationError

from catalog.errors import EnvironmentFault, Fault, KilledFault
from flows.files.durable import sync, write_durably
from flows.files.fingerprint import ContentHashes, file_sha256, fingerprint
from flows.machine_memory import memory_bytes
from flows.step import Entry, Kind, Result, Step


class DamagedEntry(EnvironmentFault):
    """A finished entry whose files are not what its record says."""


class FileEntry(BaseModel):
    """One file of an entry."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    size: int


class Record(BaseModel, Generic[Result]):
    """Everything about one finished step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: str
    key: str
    inputs: dict[str, Any]
    """All that the key was made from."""
    result: Result
    """What the step itself reported."""
    seconds: float
    """Wall time of the step."""
    cpu_seconds: float = 0.0
    """Time of all cores that its processes took."""
    peak_memory_bytes: int
    """Largest resident set of any process of the step, as the kernel counted it."""
    files: dict[str, FileEntry]

    @property
    def content(self) -> str:
        """Fingerprint of the files' bytes: the same work on another machine may come out otherwise."""
        return fingerprint({name: entry.sha256 for name, entry in self.files.items()})


@cache
def _schema(kind: Kind[Result]) -> type[Record[Result]]:
    """Return the model of a kind's records."""
    return Record[kind.result]  # type: ignore[name-defined]


class Failure(BaseModel):
    """A step that failed, and how often in a row for a reason that lies in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: str
    key: str
    attempts: int
    fault: str
    """Name of the kind of error, one of `catalog.errors.FAULTS`."""
    message: str
    log: str | None
    memory_bytes: int | None = None
    """What the machine had, where the step's process was killed."""


class Store:
    """Finished steps below one directory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._entries = str(home / "store")

    @cached_property
    def hashes(self) -> ContentHashes:
        """Hashes of files outside of entries: of models, texts and the local hub."""
        return ContentHashes(self.home / "cache" / "hashes.json")

    def directory(self, entry: Entry[Any]) -> Path:
        """Return where the entry is, or would be."""
        return self.home / "store" / entry.path

    def out(self, entry: Entry[Any]) -> Path:
        """Return the directory of an entry's files."""
        return self.directory(entry) / "out"

    def complete(self, entry: Entry[Any]) -> bool:
        """Return whether the step is finished."""
        return self.record(entry) is not None

    def record(self, entry: Entry[Result]) -> Record[Result] | None:
        """Return the record of a finished step, or None; one that cannot be read counts as none, and is made anew."""
        # Plain strings: a plan of thousands of jobs looks for tens of thousands of records that are not there.
        path = f"{self._entries}/{entry.kind.name}/{entry.key}/record.json"
        if not os.path.exists(path):  # noqa: PTH110
            return None
        try:
            return _schema(entry.kind).model_validate_json(Path(path).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def result(self, entry: Entry[Result]) -> Result:
        """Return what a finished step reported. Raises LookupError when it is not finished."""
        record = self.record(entry)
        if record is None:
            raise LookupError(f"{self.directory(entry)} was removed while it was in use: run again")
        return record.result

    def records(self, kind: Kind[Result]) -> Iterator[Record[Result]]:
        """Yield the records of all finished steps of one kind."""
        for path in sorted((self.home / "store" / kind.name).glob("*/record.json")):
            if record := self.record(kind.at(path.parent.name)):
                yield record

    def verify(self, entry: Entry[Any], record: Record[Any]) -> None:
        """Read every file of an entry and compare it with the record. Raises DamagedEntry, naming the file."""
        out = self.out(entry)
        for name, file in record.files.items():
            path = out / name
            if not path.is_file() or path.stat().st_size != file.size or file_sha256(path) != file.sha256:
                raise DamagedEntry(
                    f"{path} is not what its record says (sha256 {file.sha256}): it was changed, cut or lost after the "
                    f"step finished. Remove {self.directory(entry)} and run again to make it anew."
                )

    def scratch(self, name: str, *, resume: bool = False) -> Path:
        """Return a directory for work under way: empty, or with `resume` as an interrupted attempt left it."""
        path = self.home / "scratch" / name
        if path.exists() and not resume:
            shutil.rmtree(path)
        (path / "out").mkdir(parents=True, exist_ok=True)
        return path

    def sweep(self, days: float = 7.0) -> None:
        """Remove work under way that nobody has touched for `days`: its inputs have changed, nothing will go on from it."""
        for path in (self.home / "scratch").glob("*"):
            if time.time() - path.stat().st_mtime > days * 86400:
                shutil.rmtree(path)

    def seal(
        self,
        step: Step[Result],
        scratch: Path,
        result: Result,
        *,
        seconds: float = 0.0,
        cpu_seconds: float = 0.0,
        peak_memory_bytes: int = 0,
    ) -> Record[Result]:
        """Hash the files in `scratch/out`, write the record last and move the whole into place in one rename."""
        out = scratch / "out"
        files = {
            str(path.relative_to(out)): FileEntry(sha256=file_sha256(path), size=path.stat().st_size)
            for path in sorted(out.rglob("*"))
            if path.is_file()
        }
        record = _schema(step.kind)(
            step=step.kind.name,
            key=step.key,
            inputs=step.inputs,
            result=result,
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            peak_memory_bytes=peak_memory_bytes,
            files=files,
        )
        write_durably(scratch / "record.json", record.model_dump_json(indent=1).encode())
        directory = self.directory(step)
        directory.parent.mkdir(parents=True, exist_ok=True)
        replaced = self.home / "scratch" / f"replaced-{step.name}"
        shutil.rmtree(replaced, ignore_errors=True)
        if directory.exists():
            directory.rename(replaced)
        scratch.rename(directory)
        sync(directory.parent)
        shutil.rmtree(replaced, ignore_errors=True)
        self._failure(step).unlink(missing_ok=True)
        return record

    def forget(self, entry: Entry[Any]) -> None:
        """Remove an entry, its record first, so that a half-removed one is not taken for whole."""
        (self.directory(entry) / "record.json").unlink(missing_ok=True)
        shutil.rmtree(self.directory(entry), ignore_errors=True)

    def _failure(self, entry: Entry[Any]) -> Path:
        return self.home / "failures" / f"{entry.name}.json"

    def failed(self, entry: Entry[Any]) -> Failure | None:
        """Return how the step failed the last time, or None."""
        try:
            return Failure.model_validate_json(self._failure(entry).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def fail(self, entry: Entry[Any], error: Fault) -> Failure:
        """Note how a step failed, and one more attempt if that counts against it."""
        before = self.failed(entry)
        attempts = (before.attempts if before else 0) + error.quarantines
        log = error.log and str(error.log)
        failure = Failure(
            step=entry.kind.name,
            key=entry.key,
            attempts=attempts,
            fault=error.fault,
            message=str(error),
            log=log,
            memory_bytes=memory_bytes() if isinstance(error, KilledFault) else None,
        )
        (self.home / "failures").mkdir(parents=True, exist_ok=True)
        write_durably(self._failure(entry), failure.model_dump_json(indent=1).encode())
        return failure
