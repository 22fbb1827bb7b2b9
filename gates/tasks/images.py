"""Images as tasks read them: from files, the right way up and in RGB, as transformers' own pipelines open them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers.image_utils import load_image

from catalog.foreign_errors import machine_fault
from gates.errors import GateError


def opened(path: Path) -> Any:
    """Return an image, `PIL.Image.Image`. Raises GateError for a file that is none, or is cut short."""
    try:
        return load_image(str(path))
    except Exception as error:  # whatever a decoder raises
        raise machine_fault(error) or GateError(
            f"{path.name}: cannot be read as an image ({' '.join(str(error).split())[:200]}). Write it anew, or leave it out."
        ) from error
