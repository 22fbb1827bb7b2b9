"""What files of weights say beside their weights: read without a tensor, and only when the file is whole."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from publishers.errors import PublishError


def safetensors(path: Path, name: str) -> Any:
    """Parse the header and hold it against the file's size; return its free-form metadata."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size - 8:
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        if 8 + length + end != size:
            raise ValueError(f"tensors end at byte {8 + length + end} of {size}")
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise PublishError(
            f"Its {name} is not a whole safetensors file ({error}): build the artifact again."
        ) from error
    return metadata


def gguf(path: Path, name: str) -> Any:
    """Parse the header, up to the last tensor; return all texts but the vocabulary, which was learned."""
    from gguf import GGUFReader, GGUFValueType

    try:
        fields = GGUFReader(path).fields
    except (ValueError, KeyError, IndexError) as error:
        raise PublishError(f"Its {name} is not a whole GGUF ({error}): build the artifact again.") from error
    return {key: field.contents() for key, field in fields.items() if field.types == [GGUFValueType.STRING]}


METADATA: dict[str, Callable[[Path, str], Any]] = {".safetensors": safetensors, ".gguf": gguf}
"""By the suffix of a file.

Each raises PublishError for a file that is not what its suffix says.
"""
