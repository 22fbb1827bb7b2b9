"""Interpreters beside ours are installed, listed and removed here; `catalog.interpreters` says which there are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from catalog.errors import EnvironmentFault, Fault, NetworkFault
from catalog.foreign_errors import last_words
from catalog.interpreters import INTERPRETERS, RECORD, Interpreter, is_installed
from flows.errors import UsageError
from flows.manifest.errors import choices, nearest

_PIP = ("-m", "pip", "--disable-pip-version-check", "install", "--no-input", "--no-cache-dir", "--only-binary", ":all:")
_UNREACHED = (
    "No matching distribution found",
    "Failed to establish a new connection",
    "NewConnectionError",
    "timed out",
)
"""What pip says when it met no index, or one without the package."""


def named(name: str) -> Interpreter:
    """Return the row of that name. Raises UsageError."""
    if name not in INTERPRETERS:
        raise UsageError(
            f"{name!r} is no engine with an interpreter of its own{choices(INTERPRETERS)}{nearest(name, INTERPRETERS)}"
        )
    return INTERPRETERS[name]


def listed(engines: Path) -> list[dict[str, Any]]:
    """Return what is known of each: whether it is installed, where, its version, its size in bytes, what to do."""
    return [_state(row, engines) for row in INTERPRETERS.values()]


def _state(row: Interpreter, engines: Path) -> dict[str, Any]:
    directory = engines / row.name
    there = is_installed(row.name, engines)
    state = "installed" if there else "outdated" if directory.is_dir() else "missing"
    told: dict[str, Any] = {"engine": row.name, "state": state, "what": row.words, "version": row.identity}
    if directory.is_dir():
        told |= {"where": str(directory), "bytes": _bytes(directory)}
    return told if there else {**told, "command": row.command}


def _bytes(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if not path.is_dir() or path.is_symlink())


def install(row: Interpreter, engines: Path) -> Path:
    """Install one from its pinned files, unless it is there; return its directory.

    It is made beside its place and renamed when all of it can be imported: what is at its place is whole.

    Raises:
        NetworkFault: pip found no index, or one that lacks a package.
        EnvironmentFault: no room, no Python 3.11 that can make environments, or packages that do not load on this machine.
    """
    place = engines / row.name
    if is_installed(row.name, engines):
        return place
    with _aside(engines, row.name) as made:
        _run(row, [sys.executable, "-m", "venv", str(made)], "the environment cannot be made")
        python = str(made / "bin" / "python")
        requirements, torch = row.pins
        pinned = ["--no-deps", "--require-hashes", "--requirement", str(requirements)]
        _run(row, [python, *_PIP, *pinned], "its packages cannot be installed")
        _run(row, [python, *_PIP, "--requirement", str(torch)], "torch cannot be installed")
        _run(row, [python, "-c", f"import {row.imports}"], "its packages do not load on this machine")
        (made / RECORD).write_text(json.dumps({"engine": row.name, "version": row.identity}, indent=1) + "\n", "utf-8")
        if place.exists():
            shutil.rmtree(place)
        made.rename(place)
    return place


@contextmanager
def _aside(engines: Path, name: str) -> Iterator[Path]:
    """Yield a directory beside the place, of which nothing is left that was not renamed."""
    engines.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=engines))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _run(row: Interpreter, command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, errors="replace")
    if done.returncode == 0:
        return
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip() and "notice" not in line]
    said = " | ".join(lines[-3:])[:600]
    kind: type[Fault] = EnvironmentFault
    if any(words in done.stderr for words in _UNREACHED) or last_words(said) is NetworkFault:
        kind = NetworkFault
    raise kind(f"engine {row.name}: {what} ({said}). Nothing of it was left; mend that, and run again: {row.command}")


def remove(row: Interpreter, engines: Path) -> int:
    """Remove one; return the bytes that it took, 0 where it was not there."""
    place = engines / row.name
    if not place.is_dir():
        return 0
    size = _bytes(place)
    # Renamed first: what is at its place is whole, whenever this is killed.
    with _aside(engines, row.name) as gone:
        place.rename(gone / row.name)
    return size
