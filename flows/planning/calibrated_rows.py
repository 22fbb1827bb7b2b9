"""How much a calibrated pass reads: rows of text as the manifest says, or what a model's configuration says of files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from catalog.task import Kind
from catalog.tasks import TASKS
from flows.planning.jobs import Job
from flows.planning.text_size import rows_of

SIDE, PATCH, CHANNELS = 224, 16, 3
"""Of an image, where a configuration does not say."""
FRAMES, BANDS = 1500, 80
"""Of a sound."""


@dataclass(frozen=True)
class CalibratedRows:
    """Rows that are read."""

    count: int
    tokens: int
    """That blocks are given of each: tokens, patches or frames."""
    held: int = 0
    """Numbers of each that the model is given, and that are in memory for all rows at once."""


def calibrated_rows(job: Job) -> CalibratedRows:
    """Return what recipes of a job are calibrated on."""
    asked, columns = job.manifest.calibration, TASKS[job.original.task].reads
    if not columns:
        return CalibratedRows(asked.samples, asked.tokens)
    first = columns[0]
    tokens, held = _SIZES[first.kind](job.original.config, asked.tokens)
    return CalibratedRows(rows_of(asked, first, asked.samples), tokens, held)


def _image(config: dict[str, Any], tokens: int) -> tuple[int, int]:
    side, patch = (_first(config.get(key), usual) for key, usual in (("image_size", SIDE), ("patch_size", PATCH)))
    return (side // patch) ** 2 + 1, int(config.get("num_channels") or CHANNELS) * side**2


def _sound(config: dict[str, Any], tokens: int) -> tuple[int, int]:
    frames = int(config.get("max_source_positions") or FRAMES)
    # Whisper's first convolution answers for every frame it is given, two for one that its blocks are.
    held = 2 * frames * (int(config.get("num_mel_bins") or BANDS) + 2 * int(config.get("d_model") or 0))
    return frames + min(tokens, int(config.get("max_target_positions") or tokens)), held


def _first(value: Any, usual: int) -> int:
    number = value[0] if isinstance(value, list | tuple) and value else value
    return int(number) if isinstance(number, int) and number else usual


_SIZES: dict[Kind, Callable[[dict[str, Any], int], tuple[int, int]]] = {"image": _image, "audio": _sound}
"""By the kind of file: what its configuration, and the tokens asked for, come to in tokens and numbers."""
