"""Names of releases as typed, and where they are looked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.destinations import kind_of, path_of
from catalog.errors import EnvironmentFault
from flows.errors import UsageError

if TYPE_CHECKING:
    from publishers.destinations.destination import Destination

_NAME = re.compile(r"(?P<name>[^@/\s]+/[^@/\s]+)(?:@(?P<version>v[1-9]\d*))?")


def find_home(given: Path | None) -> Path:
    """Return the store: the one given, or the nearest `.quantmill` from here upward, or one to be made here.

    Raises EnvironmentFault when a file stands where its directory is, or would be.
    """
    here = Path.cwd()
    nearest = next((folder for folder in (here, *here.parents) if (folder / ".quantmill").is_dir()), here)
    home = given.absolute() if given else nearest / ".quantmill"
    there = next(path for path in (home, *home.parents) if path.exists())
    if not there.is_dir():
        raise EnvironmentFault(
            f"{there} is a file, and the store {home} is a directory: name another one with --home, or move the file away"
        )
    return home


def open_at(at: str, home: Path) -> Destination:
    """Open the destination that `--at` names; its path is relative to where one is. Raises UsageError."""
    from publishers.destinations.destination import open_destination

    try:
        kind, path = kind_of(at), path_of(at)
    except ValueError as error:
        raise UsageError(f"--at {error}") from error
    return open_destination(f"{kind.name}:{Path(path).absolute()}" if kind.path else at, home)


def split(release: str) -> tuple[str, str | None]:
    """Split `acme/model-target@v2` into name and version. Raises UsageError."""
    match = _NAME.fullmatch(release)
    if not match:
        raise UsageError(
            f"{release!r} is not the name of a release: it reads namespace/model-target, or …@v2 for one version"
        )
    return match["name"], match["version"]
