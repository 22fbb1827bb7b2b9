"""Images as tasks read them: from files, the right way up and in RGB, as transformers' own pipelines open them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from catalog.errors import InputError
from catalog.foreign_errors import machine_fault


def opened(path: Path) -> Any:
    """Return an image, `PIL.Image.Image`. Raises InputError for a file that is none, or is cut short."""
    from PIL import Image, ImageOps

    try:
        # As transformers.image_utils.load_image does it.
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # whatever a decoder raises
        raise machine_fault(error) or InputError(
            f"{path.name}: cannot be read as an image ({' '.join(str(error).split())[:200]}). Write it anew, or leave it out."
        ) from error


def pixels(path: Path, processor: Any) -> Any:
    """Return what a model's image processor makes of a file: `pixel_values`, a float32 tensor (channels, height, width)."""
    return processor(images=opened(path), return_tensors="pt")["pixel_values"][0]


def shown(path: Path) -> str:
    """Return a digest of what an image shows, whatever lossless format it is written in. Raises InputError."""
    image = opened(path)
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
