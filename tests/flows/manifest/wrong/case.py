"""One row of the tables of wrong manifests, and what rows are written with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.flows.manifest.room import HELD_OUT, jsonl

MODEL = "model: {source: ./model}\n"
TEXTS = "calibration: {files: calibration.jsonl}\nevaluation: {files: evaluation.jsonl}\n"
TARGETS = "targets:\n  int4: w4-rtn-g32\n"
GOOD = MODEL + TEXTS + TARGETS
"""Six lines: model in 1, calibration in 2, evaluation in 3, targets in 4, int4 in 5."""


@dataclass(frozen=True)
class Wrong:
    """A manifest, and the line, the key and the words that its author must be told."""

    name: str
    text: str | bytes
    line: int | None
    key: str
    says: tuple[str, ...]
    arrange: Callable[[Path], object] | None = None
    """What is different in the room."""
    file: str = "m.yaml"
    """The file that is blamed."""


def target(written: str) -> str:
    return MODEL + TEXTS + "targets:\n  t: " + written + "\n"


def write(name: str, content: str | bytes) -> Callable[[Path], object]:
    return lambda room: (room / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def remove(name: str) -> Callable[[Path], object]:
    return lambda room: (room / name).unlink()


def link(name: str, to: str) -> Callable[[Path], object]:
    def arrange(room: Path) -> None:
        if (room / name).is_file():
            (room / name).unlink()
        outside = room.parent / "outside"
        outside.mkdir()
        (outside / "x.jsonl").write_text(jsonl(HELD_OUT))
        (room / name).symlink_to(to)

    return arrange


def directory(room: Path) -> None:
    (room / "model" / "config.json").unlink()
    (room / "model" / "config.json").mkdir()


def dangling(room: Path) -> None:
    (room / "model" / "model.safetensors").unlink()
    (room / "model" / "model.safetensors").symlink_to("weights")


def truncated(room: Path) -> None:
    file = room / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def gone(room: Path) -> None:
    (room / "targets.yaml").symlink_to("elsewhere.yaml")
