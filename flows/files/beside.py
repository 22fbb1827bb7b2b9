"""Files that rows stand for, such as sounds and pictures: named in a row, or held by it as data sets hold them.

The `texts` step brings them along, each under the hash of its bytes, so that rows say the same on every machine.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from flows.errors import DocumentError
from flows.files.fingerprint import file_sha256

DIRECTORY = "files"
"""Where they are, below what a `texts` step writes."""


@dataclass(frozen=True)
class Beside:
    """The file that one value of a row stands for."""

    where: str
    """For a person: the row, and the name that it gives."""
    name: str
    """As the row has it; may be empty where the row holds the bytes."""
    path: Path | None
    data: bytes | None = field(default=None, repr=False)
    """What the row holds in place of a path."""

    @property
    def sha256(self) -> str:
        """Hash of its bytes."""
        return file_sha256(self.path) if self.path else hashlib.sha256(self.data or b"").hexdigest()

    def open(self) -> BinaryIO:
        """Open it to be read. Raises OSError."""
        return self.path.open("rb") if self.path else BytesIO(self.data or b"")

    def bring(self, directory: Path) -> str:
        """Write it below a directory, if it is not there, and return its name in that. Raises OSError."""
        name = f"{DIRECTORY}/{self.sha256}{PurePosixPath(self.name).suffix.lower()}"
        target = directory / name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            with self.open() as source, target.open("wb") as out:
                shutil.copyfileobj(source, out)
        return name


def beside(value: Any, key: str, base: Path | None, where: str) -> Beside:
    """Return the file that a value of a row stands for.

    Args:
        value: a name, or a mapping with `bytes` or `path`, as data sets have them.
        key: that the row has it under.
        base: directory that names are relative to; None: of a data set, whose paths are those of its cache.
        where: the row, for a person.

    Raises:
        DocumentError: it is neither, or there is no such file.
    """
    held = value if isinstance(value, Mapping) else {"path": value}
    name, data = held.get("path"), held.get("bytes")
    if isinstance(data, bytes):
        return Beside(where, name if isinstance(name, str) else "", None, data)
    if not isinstance(name, str) or not name or (base is None and not isinstance(value, Mapping)):
        raise DocumentError(
            f"{where}: {key!r} is to name a file, or to hold bytes or path as data sets do, and holds a {type(value).__name__}"
        )
    path = Path(name) if base is None else base / name
    if not path.is_file():
        relative = "" if base is None else f"; names are relative to {base}"
        raise DocumentError(f"{where}: {key!r} names {name}, which is no file{relative}")
    return Beside(f"{where}: {name}", name, path)
