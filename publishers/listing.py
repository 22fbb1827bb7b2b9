"""What lies in a release's directory."""

from __future__ import annotations

import re
from pathlib import Path

from publishers.files import sha256_of

NOT_A_FILE = "not a file"
"""In place of a hash: a link that leads nowhere or to a directory, a device, a pipe."""
COMPILED = re.compile(r"model_cache/[^/]+\.(blob|cl_cache)\Z")
"""What OpenVINO leaves beside a model that it compiled for a device; no loader reads weights or code from it."""


def listing(directory: Path) -> dict[str, str]:
    """Path → SHA-256 of every file in a release's directory but what was compiled from it since."""
    return {
        relative: sha256_of(path) if path.is_file() else NOT_A_FILE for relative, path in entries(directory).items()
    }


def entries(directory: Path) -> dict[str, Path]:
    """Relative path → path of all that `listing` lists."""
    paths = (path for path in sorted(directory.rglob("*")) if path.is_symlink() or not path.is_dir())
    named = {path.relative_to(directory).as_posix(): path for path in paths}
    return {relative: path for relative, path in named.items() if not COMPILED.match(relative)}
