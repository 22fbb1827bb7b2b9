"""Weights that a graph names and does not hold: each is made when the .bin is written, a few rows at a time.

OpenVINO keeps what its constants hold in memory until the graph is saved, which is all of the IR. Here constants look at
zero pages, which take no memory; OpenVINO writes the .xml and those zeros, and the .bin is then written anew with what
belongs there.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import openvino
import torch
from openvino import opset13 as ops
from torch import Tensor

from quantizers.model.checkpoint import Checkpoint

_CONSTANT = re.compile(
    r'(<layer id="\d+" name="([^"]*)" type="Const"[^>]*>\s*<data [^>]*\boffset=")(\d+)(" size=")(\d+)"'
)
"""A constant in an .xml: its name, and where in the .bin it is."""
_COPIED = 1 << 20
"""Bytes that are copied at a time."""


@dataclass(frozen=True)
class Part:
    """What a constant holds."""

    bytes: int
    chunks: Callable[[], Iterable[Tensor]]
    """Makes them, in order."""


@dataclass
class Pending:
    """The constants of one graph that are to be written."""

    _parts: dict[str, Part] = field(default_factory=dict)
    _zeros: dict[int, np.ndarray] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        """Whether a constant of that name is to be written."""
        return name in self._parts

    def constant(self, name: str, type_: openvino.Type, shape: Iterable[int], part: Part) -> openvino.Node:
        """Return a constant of that type and shape that will hold `part` once the graph is written.

        The graph must not be used once this object is gone: a shared constant does not keep alive what it looks at.
        """
        if name in self._parts:
            raise AssertionError(f"the graph has two weights of the name {name}")
        self._parts[name] = part
        # One stretch for all constants of a size, which nobody writes to.
        zeros = self._zeros.setdefault(part.bytes, np.zeros(part.bytes, np.uint8))
        tensor = openvino.Tensor(zeros, openvino.Shape(list(shape)), type_)
        return ops.constant(tensor, shared_memory=True, name=name)

    def write(self, xml: Path) -> None:
        """Write the .bin beside a saved .xml anew, and where everything is into the .xml.

        Raises:
            AssertionError: a weight is not in the .xml, or not of the size that it says.
        """
        left, hollow = dict(self._parts), xml.with_suffix(".hollow")
        binary = xml.with_suffix(".bin")
        binary.rename(hollow)
        places: dict[bytes, int] = {}
        """Where what was written begins, by digest: as OpenVINO has it, constants of one value are one copy."""
        with hollow.open("rb") as old, binary.open("wb") as new:

            def place(match: re.Match[str]) -> str:
                was, size, start = int(match[3]), int(match[5]), new.tell()
                part = left.pop(html.unescape(match[2]), None)
                digest = hashlib.blake2b()
                for chunk in map(_bytes, part.chunks()) if part else _read(old, was, size):
                    digest.update(chunk)
                    new.write(chunk)
                if new.tell() - start != size:
                    raise AssertionError(f"{match[2]} is {new.tell() - start} bytes, and {size} in the exported graph")
                at = places.setdefault(digest.digest(), start)
                if at != start:
                    new.seek(start)
                    new.truncate()
                return f'{match[1]}{at}{match[4]}{size}"'

            text = _CONSTANT.sub(place, xml.read_text("utf-8"))
        if left:
            raise AssertionError(f"{xml} has no weight {next(iter(left))}, {len(left)} in all")
        xml.write_text(text, "utf-8")
        hollow.unlink()


def kept(artifact: Checkpoint, *names: str) -> Part:
    """Tensors as they are stored, alike, one after the other."""
    stored = artifact.tensors[names[0]]
    size = len(names) * torch.Size(stored.shape).numel() * stored.dtype.itemsize
    return Part(size, lambda: (rows for name in names for _, rows in artifact.chunks(name)))


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _read(file: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    file.seek(start)
    for done in range(0, size, _COPIED):
        yield file.read(min(_COPIED, size - done))
