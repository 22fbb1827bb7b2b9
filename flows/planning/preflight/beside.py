"""Whether the files that rows stand for are there to be read, and are of the kind that the task reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from catalog.task import Column, Kind
from flows.files.beside import Beside
from flows.files.documents import besides
from flows.manifest.yaml_source import Key
from flows.planning.preflight.finding import Finding

HEAD = 64
"""Bytes of a file that say of what kind it is."""

Check = Callable[[bytes], str | None]
"""The first `HEAD` bytes of a file → why it is not of the kind, and what to do; None: it may be."""


def _sound(head: bytes) -> str | None:
    """WAV alone is read: other formats take codecs of the system."""
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return None
    return "is no WAV file, which is what sounds are read as; write it as one (ffmpeg -i SOUND -ac 1 SOUND.wav)"


_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
"""How files begin of the formats that Pillow reads of itself, WebP aside."""


def _image(head: bytes) -> str | None:
    if head.startswith(_IMAGES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return None
    return "is no image in PNG, JPEG, WebP, GIF, BMP or TIFF; write it as one of these, or leave its row out"


CHECKS: dict[Kind, Check] = {"audio": _sound, "image": _image}
"""By the kind of a column."""


def check_beside(finding: Finding, key: Key, file: Path, columns: Sequence[tuple[Column, str]]) -> None:
    """Raise ManifestError for the first file that a row stands for and that is none of the kind, or lies elsewhere.

    Raises DocumentError for one that does not exist.
    """
    for column, each in besides(file, columns):
        if each.path:
            finding.keep_named(key, each.name, each.path)
        check = CHECKS.get(column.kind)
        if check and (problem := check(_head(each))):
            raise finding.error(key, f"{each.where} {problem}")


def _head(each: Beside) -> bytes:
    with each.open() as file:
        return file.read(HEAD)
