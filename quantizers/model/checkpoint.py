"""A model directory on disk: which tensors it holds, and their values, a few rows at a time.

safetensors reads and checks the headers, once. Rows are then read from their place in the file, so that resident memory
holds the rows in hand and no mapping, and a shard of thousands of experts is not parsed anew for each of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from catalog.errors import Fault
from catalog.foreign_errors import machine_fault
from quantizers.errors import QuantizeError

CHUNK = 1 << 20
"""Elements of a tensor that are held in float32 at a time."""

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Stored:
    """One tensor of the checkpoint."""

    file: Path
    key: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    """Place of its first byte in the file."""

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows `start … stop`, of a scalar all.

        Raises:
            OSError: the file cannot be read, or has become shorter.
        """
        tensor = torch.empty((stop - start, *self.shape[1:]) if self.shape else (), dtype=self.dtype)
        left = memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data)
        with self.file.open("rb", buffering=0) as shard:
            shard.seek(self.offset + start * (tensor[:1].nbytes if self.shape else 0))
            while left:
                done = shard.readinto(left)
                if not done:
                    raise OSError(f"it ends {len(left)} bytes before tensor {self.key} does")
                left = left[done:]
        return tensor


@dataclass(frozen=True)
class Turned(Stored):
    """A matrix whose columns lie in a file as parts of wider rows: that of an expert, of those that are stored `[in, out]`."""

    width: int = 0
    """Elements of a row there."""

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows `start … stop`: so many elements of each row there.

        Raises:
            OSError: the file cannot be read, or has become shorter.
        """
        columns = torch.empty(self.shape[1], stop - start, dtype=self.dtype)
        apart = self.width * self.dtype.itemsize
        with self.file.open("rb", buffering=0) as shard:
            for number, column in enumerate(columns.view(torch.uint8).numpy()):
                shard.seek(self.offset + number * apart + start * self.dtype.itemsize)
                if shard.readinto(column.data) != len(column):
                    raise OSError(f"it ends before tensor {self.key} does")
        return columns.mT.contiguous()


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a model directory by name."""

    directory: Path
    config: dict[str, Any]
    tensors: dict[str, Stored]

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows `start … stop` of a tensor, in its own dtype, in memory of their own.

        Raises:
            QuantizeError: the values hold NaN or infinity, or the shard cannot be read.
        """
        stored = self.tensors[name]
        try:
            return _finite(stored.rows(start, stop), name, stored.file)
        except OSError as error:
            raise _unreadable(stored.file, error) from error

    def whole(self, name: str) -> Tensor:
        """The whole tensor, in its own dtype."""
        shape = self.tensors[name].shape
        return self.rows(name, 0, shape[0] if shape else 1)

    def wide(self, name: str) -> Tensor:
        """The whole tensor in float32; no second copy of it in its own dtype is held beside it."""
        shape = self.tensors[name].shape
        if not shape:
            return self.whole(name).float()
        values = torch.empty(shape)
        for start, rows in self.chunks(name):
            values[start : start + len(rows)] = rows
        return values

    def split(self, name: str, parts: Sequence[str]) -> None:
        """Hold a tensor as `parts` of as many rows each, one below the other, instead; no value is read."""
        stored = self.tensors.pop(name)
        rows = stored.shape[0] // len(parts)
        size = rows * torch.Size(stored.shape[1:]).numel() * stored.dtype.itemsize
        for number, part in enumerate(parts):
            self.tensors[part] = replace(stored, shape=(rows, *stored.shape[1:]), offset=stored.offset + number * size)

    def unstack(self, name: str, parts: Sequence[Sequence[str]]) -> None:
        """Hold a stack `[experts, in, out]` as matrices `[out, in]` instead, of as many outputs each; no value is read.

        Args:
            name: of the stack.
            parts: of each expert, the names of its matrices, side by side.
        """
        stored = self.tensors.pop(name)
        _, inputs, width = stored.shape
        for expert, names in enumerate(parts):
            rows = width // len(names)
            for number, part in enumerate(names):
                before = expert * inputs * width + number * rows
                self.tensors[part] = Turned(
                    stored.file,
                    stored.key,
                    stored.dtype,
                    (rows, inputs),
                    stored.offset + before * stored.dtype.itemsize,
                    width,
                )

    def chunks(self, name: str, multiple: int = 1) -> Iterator[tuple[int, Tensor]]:
        """Yield `(first row, rows)` over a tensor, about `CHUNK` elements at a time, `multiple` rows at the least."""
        shape = self.tensors[name].shape
        if not shape:
            yield 0, self.whole(name)
            return
        width = max(1, int(torch.Size(shape[1:]).numel()))
        step = max(multiple, CHUNK // width // multiple * multiple)
        for start in range(0, shape[0], step):
            yield start, self.rows(name, start, min(start + step, shape[0]))


def open_checkpoint(directory: Path) -> Checkpoint:
    """Read the headers of every shard of a model directory; no weights.

    Raises:
        QuantizeError: config.json or the safetensors are missing, cut short, listed wrongly or in two places.
    """
    return Checkpoint(directory, read_config(directory), read_headers(directory))


def read_headers(directory: Path) -> dict[str, Stored]:
    """The tensors in the safetensors of a directory, by name.

    Raises:
        QuantizeError: as `open_checkpoint`.
    """
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        return _indexed(directory, index)
    single = directory / "model.safetensors"
    if single.is_file():
        return _header(single)
    held = sorted(p.name for p in directory.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".safetensors", ".gguf"})
    raise QuantizeError(
        f"{directory}: no model.safetensors and no model.safetensors.index.json"
        f"{' (it holds ' + ', '.join(held) + ')' if held else ''}. Weights are read from safetensors alone: "
        "save the model with save_pretrained, or choose a revision that has them."
    )


def read_config(directory: Path) -> dict[str, Any]:
    """config.json of a model directory.

    Raises:
        QuantizeError: it is missing or is no JSON object.
    """
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise QuantizeError(f"{path}: no such file. A model directory holds config.json beside its weights.") from error
    except ValueError as error:
        raise QuantizeError(f"{path}: not JSON ({error}). Fetch the model again.") from error
    if not isinstance(config, dict):
        raise QuantizeError(f"{path}: holds a {type(config).__name__}, not a JSON object. Fetch the model again.")
    if "quantization_config" in config:
        method = config["quantization_config"].get("quant_method", "unknown")
        raise QuantizeError(
            f"{path}: this model is already quantized (quant_method {method}). "
            "Name the original model as the source; quantizing twice loses quality twice."
        )
    return config


def _header(file: Path) -> dict[str, Stored]:
    tensors = {}
    try:
        with file.open("rb") as raw:
            offset = 8 + int.from_bytes(raw.read(8), "little")
        with safe_open(file, framework="pt") as shard:  # type: ignore[no-untyped-call]
            # It has made sure that the tensors follow one another without a gap.
            for key in shard.offset_keys():
                part = shard.get_slice(key)
                dtype = _DTYPES.get(part.get_dtype())
                if dtype is None:
                    raise QuantizeError(
                        f"{file}: tensor {key} has dtype {part.get_dtype()}. Weights are read from "
                        "float32, float16 or bfloat16; name a model that is stored in one of these."
                    )
                tensors[key] = Stored(file, key, dtype, tuple(part.get_shape()), offset)
                offset += torch.Size(part.get_shape()).numel() * dtype.itemsize
    except (SafetensorError, OSError) as error:
        raise _unreadable(file, error) from error
    return tensors


def _indexed(directory: Path, index: Path) -> dict[str, Stored]:
    try:
        where = json.loads(index.read_text("utf-8"))["weight_map"]
        files = sorted(set(where.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise QuantizeError(
            f"{index}: not an index of shards (no JSON object with weight_map: {error!r}). Fetch the model again."
        ) from error
    tensors: dict[str, Stored] = {}
    for name in files:
        if Path(name).name != name:
            raise QuantizeError(f"{index}: shard {name!r} lies outside the model's directory. Fetch the model again.")
        if not (directory / name).is_file():
            raise QuantizeError(f"{index}: shard {name} is missing from {directory}. Fetch the model again.")
        for key, stored in _header(directory / name).items():
            if key in tensors:
                raise QuantizeError(
                    f"{directory}: tensor {key} is in two shards, {tensors[key].file.name} and {name}. "
                    "Which one is meant cannot be known: fetch the model again, or remove the shard that is left over."
                )
            tensors[key] = stored
    for key, name in where.items():
        if key not in tensors or tensors[key].file.name != name:
            raise QuantizeError(
                f"{index}: tensor {key} should be in {name} but is not there. "
                "The index and the shards are of different revisions, or a shard is incomplete: fetch the model again."
            )
    return {key: tensors[key] for key in where}


def _finite(tensor: Tensor, name: str, file: Path) -> Tensor:
    if tensor.is_floating_point() and tensor.numel():
        low, high = torch.aminmax(tensor)
        if not (torch.isfinite(low) and torch.isfinite(high)):
            raise QuantizeError(
                f"{file}: tensor {name} holds NaN or infinity. "
                "A scale cannot be taken of such weights: fetch the model again, or name a sound revision."
            )
    return tensor


def _unreadable(file: Path, error: Exception) -> Fault:
    return machine_fault(error) or QuantizeError(
        f"{file}: cannot be read as safetensors ({error}). The file is damaged or cut short: fetch the model again."
    )
