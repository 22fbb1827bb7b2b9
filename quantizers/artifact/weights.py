"""An artifact's weights on disk: laid out from the shapes before the first tensor is made, then filled in place.

Because every tensor's place is known beforehand, tensors are written a few rows at a time and in any order, a full
disk is met before the work and not after it, and what is missing or written twice is seen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from catalog.errors import EnvironmentFault

SHARD_BYTES = 5_000_000_000
"""Bytes of weights in one shard at the most, as transformers' save_pretrained has it."""

# https://github.com/huggingface/safetensors#format
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Slot:
    """Dtype and shape of a tensor that is going to be written."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return int(torch.Size(self.shape).numel()) * self.dtype.itemsize


@dataclass(frozen=True)
class Part:
    """Where a slot lies that is no tensor of its own in the file."""

    tensor: str
    """Name of the tensor in the file."""
    whole: Slot
    offset: int
    """In bytes, from where that tensor begins."""


@dataclass(frozen=True)
class _Location:
    file: str
    offset: int
    slot: Slot


@dataclass
class Weights:
    """The safetensors of one artifact, open for writing; a context manager."""

    directory: Path
    locations: dict[str, _Location]
    filled: dict[str, int]
    files: dict[str, int] = field(default_factory=dict)

    @property
    def expected_bytes(self) -> int:
        """Size of the weights that the shapes imply."""
        return sum(location.slot.bytes for location in self.locations.values())

    def write(self, name: str, tensor: Tensor) -> None:
        """Append rows to a tensor; rows come in order, whole tensors at once.

        Raises:
            AssertionError: no such tensor is due, its dtype is another, or it is already full.
        """
        location = self.locations[name]
        tensor = tensor.detach().cpu().contiguous()
        # Of one element or column, a contiguous tensor may have any stride.
        data = tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8).numpy()
        at = self.filled[name]
        if tensor.dtype != location.slot.dtype or at + data.nbytes > location.slot.bytes:
            raise AssertionError(
                f"{name}: {data.nbytes} bytes of {tensor.dtype} after {at} of {location.slot.bytes} bytes "
                f"of {location.slot.dtype}; a tensor was written twice or in another shape than the recipe implies"
            )
        view, position = memoryview(data.data), location.offset + at
        while view:
            done = os.pwrite(self.files[location.file], view, position)
            view, position = view[done:], position + done
        self.filled[name] = at + data.nbytes

    def close(self) -> None:
        """Check that every tensor is whole.

        Raises:
            AssertionError: one is not; the message names it.
        """
        short = [name for name, location in self.locations.items() if self.filled[name] != location.slot.bytes]
        if short:
            raise AssertionError(
                f"{len(short)} tensors of the artifact were not written whole, the first is {short[0]}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self.files.values():
            os.close(descriptor)
        self.files.clear()


def laid_out(slots: Mapping[str, Slot], parts: Mapping[str, Part]) -> dict[str, Slot]:
    """The tensors that a file has, in the order of the first slot of each."""
    tensors: dict[str, Slot] = {}
    for name, slot in slots.items():
        part = parts.get(name, Part(name, slot, 0))
        tensors[part.tensor] = part.whole
    return tensors


def open_weights(
    directory: Path, slots: dict[str, Slot], filled: Set[str], parts: Mapping[str, Part] | None = None
) -> Weights:
    """Create (or, for slots in `filled`, go on with) the shards of an artifact in `directory`.

    Args:
        directory: where the files are.
        slots: what is going to be written, by name.
        filled: names of those that are there.
        parts: of those that lie in tensors of other names, where they do.

    Raises:
        EnvironmentFault: the disk has no room for them.
    """
    shards: list[dict[str, Slot]] = [{}]
    size = 0
    parts = parts or {}
    for name, slot in laid_out(slots, parts).items():
        if shards[-1] and size + slot.bytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = slot
        size += slot.bytes
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
        _write_index(directory, shards, names)
    weights = Weights(directory, {}, {name: slot.bytes if name in filled else 0 for name, slot in slots.items()})
    tensors: dict[str, _Location] = {}
    for name, shard in zip(names, shards, strict=True):
        tensors |= _create(weights, name, shard)
    for name, slot in slots.items():
        part = parts.get(name, Part(name, slot, 0))
        tensor = tensors[part.tensor]
        weights.locations[name] = _Location(tensor.file, tensor.offset + part.offset, slot)
    return weights


def _create(weights: Weights, file: str, shard: dict[str, Slot]) -> dict[str, _Location]:
    # Wide dtypes first, so that every tensor starts at a multiple of its item size.
    ordered = sorted(shard, key=lambda name: (-shard[name].dtype.itemsize, name))
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in ordered:
        slot = shard[name]
        entries[name] = {
            "dtype": _NAMES[slot.dtype],
            "shape": list(slot.shape),
            "data_offsets": [end, end + slot.bytes],
        }
        end += slot.bytes
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    descriptor = os.open(weights.directory / file, os.O_RDWR | os.O_CREAT, 0o644)
    weights.files[file] = descriptor
    total = 8 + len(header) + end
    try:
        os.posix_fallocate(descriptor, 0, total)
    except OSError as error:
        raise EnvironmentFault(
            f"{weights.directory}: no room for {file}, {total / 1e9:.2f} GB ({error.strerror}). "
            "Free space on this disk, or put the store on another."
        ) from error
    os.pwrite(descriptor, len(header).to_bytes(8, "little") + header, 0)
    base, locations = 8 + len(header), {}
    for name in ordered:
        locations[name] = _Location(file, base, shard[name])
        base += shard[name].bytes
    return locations


def _write_index(directory: Path, shards: list[dict[str, Slot]], names: list[str]) -> None:
    where = {name: file for shard, file in zip(shards, names, strict=True) for name in shard}
    total = sum(slot.bytes for shard in shards for slot in shard.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")
