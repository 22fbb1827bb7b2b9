"""Where a manifest's local sources are, and that they stay inside its directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from flows.manifest.yaml_source import Key, Source

_PATHS = ("./", "../", "/", "~")


@dataclass(frozen=True)
class ManifestDirectory:
    """The directory a manifest may name files in."""

    source: Source
    base: Path
    """Directory of the manifest, absolute, symlinks resolved."""
    allow_path: bool
    """Whether it may name files elsewhere, too."""

    def is_path(self, written: str) -> bool:
        """Whether a model's source is a directory rather than a Hub id."""
        return written in (".", "..") or written.startswith(_PATHS) or (self.base / written).is_dir()

    def resolve(self, key: Key, written: str) -> Path:
        """Return the absolute path, symlinks resolved. Raises ManifestError when it leaves the manifest's directory."""
        real = self.real(key, written)
        self.keep_inside(key, written, real)
        return real

    def real(self, key: Key, written: str) -> Path:
        """Return the absolute path, symlinks resolved, wherever it is. Raises ManifestError for what is no path."""
        if written.startswith("~"):
            raise self.source.error(key, f"is {written!r}; ~ is not read here, write the path out")
        if "\0" in written:
            raise self.source.error(key, "holds a NUL character, which no path does")
        return Path(os.path.realpath(self.base / written))

    def keep_inside(self, key: Key, written: str, real: Path) -> None:
        """Raise ManifestError when `real`, which `written` led to, is outside."""
        if self.allow_path or real.is_relative_to(self.base):
            return
        lexical = Path(os.path.normpath(self.base / written))
        through = "through a symbolic link " if lexical.is_relative_to(self.base) else ""
        raise self.source.error(
            key,
            f"{written} leads {through}to {real}, outside the manifest's directory; move it there, or give --allow-path",
        )
