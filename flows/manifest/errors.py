"""The one error of this package, and the spelling help it gives."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from catalog.errors import InputError


class ManifestError(InputError):
    """A manifest that cannot be carried out. `str()` is one paragraph: `file:line: key: what is wrong; what is allowed`."""

    def __init__(self, path: Path, line: int | None, key: str, problem: str) -> None:
        self.path = path
        """The file at fault: the manifest, or the `targets.yaml` it uses."""
        self.line = line
        """Counted from 1; None when the file could not be read."""
        self.key = key
        """Dotted, such as `targets.int4.group_size`; empty for the file as a whole."""
        self.problem = problem
        where = str(path) if line is None else f"{path}:{line}"
        super().__init__(": ".join(part for part in (where, key, problem) if part))


def choices(allowed: Iterable[str]) -> str:
    """Return `; allowed: a, b, c`."""
    return "; allowed: " + ", ".join(allowed)


def nearest(word: object, allowed: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the spelling closest to `word`, or nothing."""
    small = {each.lower(): each for each in allowed}
    typed = str(word).lower()
    begun = [each for each in small if len(typed) > 1 and each.startswith(typed)]
    close = begun[:1] or get_close_matches(typed, small, n=1, cutoff=0.6)
    return f"; did you mean {small[close[0]]!r}?" if close else ""


def shown(path: Path) -> Path:
    """Return `path` relative to the working directory when it lies below it."""
    here = os.path.relpath(path)
    return path if here.startswith("..") else Path(here)
