"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import os
from pathlib import Path

from catalog.secrets import scrub_bytes


def write_durably(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, without a secret, and have it on the disk before returning.

    Raises OSError, and leaves what was there before.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("wb") as file:
            file.write(scrub_bytes(data))
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        error.filename = str(path)  # writing and syncing do not name it
        raise
    sync(path.parent)


def sync(directory: Path) -> None:
    """Have the names in a directory on the disk before returning."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
