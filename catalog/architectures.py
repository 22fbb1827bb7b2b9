"""What config.json names as architectures: the classes that weights were saved from. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

LONE = "EncoderModel"
"""How names end of an encoder without the decoder that its type has."""


def named(directory: Path) -> tuple[str, ...]:
    """Return the architectures of the model in a directory; none where its config.json names none, or cannot be read."""
    try:
        said = json.loads((directory / "config.json").read_bytes()).get("architectures")
    except (OSError, ValueError, AttributeError):
        return ()
    return tuple(map(str, said)) if isinstance(said, list) else ()


def is_lone(architectures: Sequence[str]) -> bool:
    """Whether these are of an encoder without its decoder."""
    return bool(architectures) and architectures[0].endswith(LONE)
