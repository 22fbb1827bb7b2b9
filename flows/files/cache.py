"""What planning remembers from one run to the next. What is lost or damaged costs time, and nothing else."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from flows.files.durable import write_durably

T = TypeVar("T")


def kept(path: Path, shape: type[T]) -> T | None:
    """Return what was kept as JSON; None when nothing was, or when what is there has another shape."""
    try:
        return TypeAdapter(shape).validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def keep(path: Path, value: object) -> None:
    """Keep a value as JSON for the next time; a disk that is full or read-only goes without."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, TypeAdapter(type(value)).dump_json(value))
