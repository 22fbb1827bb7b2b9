"""What safetensors headers say of a model: names, dtypes and shapes, without reading a weight.

The file format: https://huggingface.co/docs/safetensors#format (eight bytes of little-endian header length, then JSON).
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from catalog.errors import InputError

_LARGEST_HEADER = 100_000_000
_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "I64": 64, "I32": 32, "I16": 16}


class HeaderError(InputError):
    """A weight file whose header cannot be believed."""


@dataclass(frozen=True)
class Tensor:
    """One entry of a header."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def elements(self) -> int:
        """Return the number of values."""
        return math.prod(self.shape)


def weight_files(directory: Path) -> list[Path]:
    """Return the safetensors files of a model directory: those its index names, or all there are.

    Raises HeaderError when there are none, or when the index names a file that is missing.
    """
    index = directory / "model.safetensors.index.json"
    if index.exists():
        try:
            names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise HeaderError(f"{index} is not a safetensors index ({error}); download the model again") from error
        if outside := [name for name in names if Path(name).name != name]:
            raise HeaderError(f"{index} names {outside[0]}, which is not a file beside it; download the model again")
        missing = [name for name in names if not (directory / name).is_file()]
        if missing:
            raise HeaderError(f"{index} names {missing[0]}, which is not there; download the model again")
        return [directory / name for name in names]
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise HeaderError(f"{directory} holds no *.safetensors file; convert the weights to safetensors first")
    return files


def shapes(directory: Path) -> dict[str, Tensor]:
    """Return every tensor of a model directory by name. Raises HeaderError for a truncated or malformed file."""
    found: dict[str, Tensor] = {}
    for path in weight_files(directory):
        status = path.stat()
        for name, tensor in _header(path, status.st_mtime_ns, status.st_size).items():
            if name in found:
                raise HeaderError(f"{path} holds {name} a second time: another file of {directory} holds it too")
            found[name] = tensor
    return found


@lru_cache(maxsize=4096)
def _header(path: Path, mtime_ns: int, size: int) -> dict[str, Tensor]:
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else _LARGEST_HEADER + 1
        if length > min(_LARGEST_HEADER, size - 8):
            raise HeaderError(f"{path} is not a whole safetensors file (its header does not fit into {size} bytes)")
        try:
            header = json.loads(file.read(length))
            entries = {
                name: Tensor(entry["dtype"], tuple(entry["shape"]), entry["data_offsets"][1] - entry["data_offsets"][0])
                for name, entry in header.items()
                if name != "__metadata__"
            }
        except (ValueError, KeyError, TypeError) as error:
            raise HeaderError(f"{path} has a header that is not safetensors ({error})") from error
    expected = 8 + length + sum(tensor.bytes for tensor in entries.values())
    if size < expected:
        raise HeaderError(f"{path} is truncated: its header promises {expected} bytes, the file has {size}")
    for name, tensor in entries.items():
        bits = _BITS.get(tensor.dtype)
        if bits and tensor.elements * bits != tensor.bytes * 8:
            raise HeaderError(
                f"{path} stores {name} in {tensor.bytes} bytes, but its shape {tensor.shape} needs more or less"
            )
    return entries
