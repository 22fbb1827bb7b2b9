"""The tensors of a directory's safetensors, by name, read one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

MAPPED = 1 << 27
"""Bytes that are read before shards are opened anew: pages of a file that was read stay with the process while it is open."""


class StoredTensors(Mapping[str, Tensor]):
    """What safetensors hold, in their own dtypes.

    Shards stay open for a while: to open one is to parse its header, which may be of thousands of experts.
    """

    def __init__(self, directory: Path) -> None:
        self.shard_of: dict[str, Path] = {}
        """Shard by tensor."""
        self._open: dict[Path, Any] = {}
        self._read = 0
        for path in sorted(directory.glob("*.safetensors")):
            self.shard_of |= dict.fromkeys(self._shard(path).keys(), path)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, without reading it."""
        return tuple(self._shard(self.shard_of[name]).get_slice(name).get_shape())

    def __getitem__(self, name: str) -> Tensor:
        return self._counted(self._shard(self.shard_of[name]).get_tensor(name))

    def part(self, name: str, number: int) -> Tensor:
        """Return one matrix of a stack of them."""
        return self._counted(self._shard(self.shard_of[name]).get_slice(name)[number])

    def _counted(self, read: Any) -> Tensor:
        tensor = torch.as_tensor(read)
        self._read += tensor.nbytes
        if self._read > MAPPED:
            # A tensor in hand keeps its own mapping.
            self._open, self._read = {}, 0
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.shard_of)

    def __len__(self) -> int:
        return len(self.shard_of)

    def _shard(self, path: Path) -> Any:
        if path not in self._open:
            self._open[path] = safe_open(path, framework="pt")  # type: ignore[no-untyped-call]
        return self._open[path]
