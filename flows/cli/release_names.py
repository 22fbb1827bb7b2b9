"""Names of releases as typed, and the directory they are looked for in."""

from __future__ import annotations

import re
from pathlib import Path

from flows.errors import UsageError

_NAME = re.compile(r"(?P<name>[^@/\s]+/[^@/\s]+)(?:@(?P<version>v[1-9]\d*))?")


def find_home(given: Path | None) -> Path:
    """Return the store: the one given, or the nearest `.quantmill` from here upward, or one to be made here."""
    if given:
        return given.absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".quantmill").is_dir():
            return folder / ".quantmill"
    return here / ".quantmill"


def split(release: str) -> tuple[str, str | None]:
    """Split `acme/model-target@v2` into name and version. Raises UsageError."""
    match = _NAME.fullmatch(release)
    if not match:
        raise UsageError(
            f"{release!r} is not the name of a release: it reads namespace/model-target, or …@v2 for one version"
        )
    return match["name"], match["version"]
