"""`quantmill.json`: where a release comes from, what was measured, and the hash of every file in it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalog.foreign_errors import machine_fault
from catalog.formats import ReleasedName
from catalog.runtime import RuntimeOptions
from catalog.tasks import TaskName
from publishers.errors import PublishError
from publishers.request import Draft, Equal, Subject

PROVENANCE = "quantmill.json"
VERSION = re.compile(r"v[1-9][0-9]*\Z")
COMMIT = re.compile(r"[0-9a-f]{40}\Z")


class File(BaseModel):
    """One file of a release."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    """In bytes."""


class Origin(BaseModel):
    """The model that was read, without the directory it was read from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    id: str | None
    revision: str


class Provenance(BaseModel):
    """`quantmill.json`. Holds no date, host or path, and equal inputs give equal bytes, but for `evidence.speed`.

    That was timed on one machine, and is told by the first release that is the same otherwise (`publishers.figures`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    name: str
    target: str
    task: TaskName
    format: ReleasedName
    source: Origin
    runtime: RuntimeOptions = RuntimeOptions()
    recipe: dict[str, Any]
    calibration: dict[str, Any] | None
    evaluation: dict[str, Any]
    evidence: dict[str, Any]
    verdict: dict[str, Any]
    tools: dict[str, str]
    key: str
    draft: Draft | None = None
    equal: Equal | None = None
    instructions: str | None = None
    files: dict[str, File]
    """Every file of the release but this one, which the commit id covers."""


def of_subject(subject: Subject, files: Mapping[str, File]) -> Provenance:
    """What a subject says of itself, without the places of this machine; `files` are those of its release."""
    source = Origin(name=subject.source.name, id=subject.source.id, revision=subject.source.revision)
    same = subject.model_dump(exclude={"artifact", "files", "source"})
    return Provenance(**same, source=source, files=dict(files))


def read_provenance(directory: Path) -> Provenance:
    """Read a release's `quantmill.json`.

    Raises:
        PublishError: it is absent or is not one.
    """
    path = directory / PROVENANCE
    try:
        return parse_provenance(path.read_bytes(), str(path))
    except OSError as error:
        raise machine_fault(error) or PublishError(
            f"{directory} holds no readable {PROVENANCE} ({error.strerror}), so it is not a release of quantmill: "
            "name one that `quantmill list` shows."
        ) from error


def parse_provenance(record: bytes, origin: str) -> Provenance:
    """Parse a `quantmill.json` that was read from `origin`.

    Raises:
        PublishError: it is not one.
    """
    try:
        return Provenance.model_validate_json(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise PublishError(
            f"{origin} is not a provenance record that this version reads: {where}: {first['msg']}. The release was "
            "changed after it was published, or comes from another version of quantmill; publish it again."
        ) from error


def content_id(hashes: Mapping[str, str]) -> str:
    """Commit id of a tree: the first 40 hexadecimal digits of the SHA-256 over its `sha256sum` listing.

    `hashes` maps path to SHA-256. The listing has one line `<sha256>  <path>` per file, in byte order of the paths, so
    `find -L * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-40` in a release prints the same.
    """
    listing = "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes))
    return hashlib.sha256(listing.encode()).hexdigest()[:40]
