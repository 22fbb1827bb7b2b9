"""What safetensors headers say of a model: names, dtypes and shapes, without reading a weight.

The file format: https://huggingface.co/docs/safetensors#format (eight bytes of little-endian header length, then JSON).
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from catalog.errors import InputError

_LARGEST_HEADER = 100_000_000
_BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "I64": 64,
    "I32": 32,
    "I16": 16,
    "I8": 8,
    "U8": 8,
    "BOOL": 8,
}


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


def weight_files(directory: Path) -> dict[Path, tuple[str, ...]]:
    """Return the safetensors files of a model directory that stock loaders read, each with the tensors it has to hold.

    No tensors are named for a model that is in one file. Raises HeaderError when there are none, or when the index names a
    file that is missing.
    """
    index, single = directory / "model.safetensors.index.json", directory / "model.safetensors"
    if index.exists():
        return _indexed(directory, index)
    if single.exists():
        return {single: ()}
    held = sorted(path.name for path in directory.iterdir() if path.suffix in _WEIGHTS)
    if not held:
        raise HeaderError(
            f"{directory} holds no weights: no model.safetensors, and no index of shards; fetch the model again"
        )
    if "adapter_model.safetensors" in held:
        raise HeaderError(
            f"{directory} holds an adapter alone (adapter_model.safetensors); merge it into its base model"
        )
    if any(name.endswith(".safetensors") for name in held):
        raise HeaderError(
            f"{directory} holds {', '.join(held[:3])}, and neither a model.safetensors nor model.safetensors.index.json, which "
            "loaders go by; fetch the file that is missing, or save the model with save_pretrained"
        )
    raise HeaderError(
        f"{directory} holds weights as {', '.join(held[:3])}, and no *.safetensors file; convert them to safetensors first"
    )


_WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx"})


def _indexed(directory: Path, index: Path) -> dict[Path, tuple[str, ...]]:
    try:
        weight_map = dict(json.loads(index.read_bytes())["weight_map"])
        names = sorted(set(weight_map.values()))
        outside = [name for name in names if Path(name).name != name]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise HeaderError(f"{index} is not a safetensors index ({error}); download the model again") from error
    if not names:
        raise HeaderError(f"{index} names no tensor; download the model again")
    if outside:
        raise HeaderError(f"{index} names {outside[0]}, which is not a file beside it; download the model again")
    if missing := [name for name in names if not (directory / name).is_file()]:
        raise HeaderError(f"{index} names {missing[0]}, which is not there; download the model again")
    return {directory / name: tuple(key for key, file in weight_map.items() if file == name) for name in names}


def shapes(directory: Path) -> dict[str, Tensor]:
    """Return every tensor of a model directory by name. Raises HeaderError for a truncated or malformed file."""
    tensors: dict[str, Tensor] = {}
    for path, wanted in weight_files(directory).items():
        status = path.stat()
        held = _header(path, status.st_mtime_ns, status.st_size)
        if absent := [name for name in wanted if name not in held]:
            raise HeaderError(
                f"{path} does not hold {absent[0]}, which the index says is there; download the model again"
            )
        for name, tensor in held.items():
            if name in tensors:
                raise HeaderError(f"{path} holds {name} a second time: another file of {directory} holds it too")
            tensors[name] = tensor
    return tensors


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
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HeaderError(f"{path} has a header that is not safetensors ({error})") from error
    expected = 8 + length + sum(tensor.bytes for tensor in entries.values())
    if size != expected:
        what = (
            f"is truncated: its header promises {expected} bytes"
            if size < expected
            else f"holds {expected} bytes of tensors"
        )
        raise HeaderError(f"{path} {what}, and the file has {size}; download it again")
    if not _follow_on(header):
        raise HeaderError(f"{path} has a header in which tensors overlap or leave gaps; download it again")
    for name, tensor in entries.items():
        bits = _BITS.get(tensor.dtype)
        if any(not isinstance(extent, int) or extent < 0 for extent in tensor.shape):
            raise HeaderError(f"{path} gives {name} the shape {list(tensor.shape)}, which is none; download it again")
        if bits and tensor.elements * bits != tensor.bytes * 8:
            raise HeaderError(
                f"{path} stores {name} in {tensor.bytes} bytes, but its shape {tensor.shape} needs more or less"
            )
    return entries


def _follow_on(header: dict[str, Any]) -> bool:
    offsets = sorted(tuple(entry["data_offsets"]) for name, entry in header.items() if name != "__metadata__")
    return all(start == end for (_, end), (start, _) in pairwise([(0, 0), *offsets]))
