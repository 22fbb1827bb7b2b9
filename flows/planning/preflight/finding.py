"""Where to report what is wrong: a manifest's key, with its line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.manifest.directory import ManifestDirectory
from flows.manifest.errors import ManifestError, shown
from flows.manifest.model import Manifest
from flows.manifest.yaml_source import Key, Source, read


@dataclass(frozen=True)
class Problem:
    """What is wrong with a target, and the fields of it that say so, the most exact first."""

    text: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A manifest, read again for line numbers only when there is something to say."""

    manifest: Manifest
    allow_path: bool = False

    def source(self) -> Source:
        """The manifest as it is written."""
        return read(shown(self.manifest.path))

    def error(self, key: Key, problem: str) -> ManifestError:
        """Return the error of a key."""
        return self.source().error(key, problem)

    def error_of(self, target: str, rung: int, problem: Problem) -> ManifestError:
        """Return the error of a target's recipe, at the most exact key that is written for it."""
        source = self.source()
        key = _recipe_key(source, target, rung)
        for path in (*problem.fields, "preset"):
            if (at := _written(source, key, path)) is not None:
                return source.error(at, problem.text)
        return source.error(key, problem.text)

    def writes(self, target: str, rung: int, field: str) -> bool:
        """Whether the manifest itself, and no preset, says what a field of a target's recipe is."""
        source = self.source()
        return _written(source, _recipe_key(source, target, rung), field) is not None

    def keep_inside(self, key: Key, path: Path) -> None:
        """Raise when a file below a local source is a link that leads out of the manifest's directory."""
        if not path.is_symlink() or self.allow_path:
            return
        try:
            real = path.resolve()
        except (OSError, RuntimeError):  # a circle of links, which leads nowhere
            return
        base = self.manifest.path.parent
        ManifestDirectory(self.source(), base, False).keep_inside(key, str(path.relative_to(base)), real)

    def keep_named(self, key: Key, written: str, path: Path) -> None:
        """Raise for a file that a row names and that is, or leads, out of the manifest's directory."""
        base, real = self.manifest.path.parent, path.resolve()
        if not (self.allow_path or real.is_relative_to(base)):
            ManifestDirectory(self.source(), base, False).keep_inside(key, written, real)

    @contextmanager
    def readable(self, key: Key) -> Iterator[None]:
        """Report a file that the system does not let us read."""
        try:
            yield
        except OSError as error:
            raise self.error(key, f"{error.filename} cannot be read ({error.strerror})") from error


def _recipe_key(source: Source, target: str, rung: int) -> Key:
    key: Key = ("targets", target)
    written = source.written(key)
    return (*key, "ladder", rung) if isinstance(written, dict) and "ladder" in written else key


def _written(source: Source, key: Key, field: str) -> Key | None:
    at: Key = (*key, *field.split("."))
    return at if isinstance(source.written(key), dict) and source.written(at) is not None else None
