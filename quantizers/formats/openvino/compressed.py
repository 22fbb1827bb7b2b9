"""What OpenVINO holds of a rounded weight, made of a compressed-tensors artifact when it is written.

The integers, scales and zero points are the artifact's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import openvino
import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from torch import Tensor

from catalog.dtypes import DTYPES
from quantizers.dtypes import Codes, grouped
from quantizers.formats.openvino.pending import Part
from quantizers.model.checkpoint import Checkpoint
from quantizers.ranges.minmax import minmax
from quantizers.rounding.nearest import nearest

_TYPES = {
    (4, True): openvino.Type.i4,
    (4, False): openvino.Type.u4,
    (8, True): openvino.Type.i8,
    (8, False): openvino.Type.u8,
}
"""By bits and symmetry. OpenVINO's own integers of two and three bits are not compiled by its plugins."""


@dataclass(frozen=True)
class Compressed:
    """One linear, or one of each expert, in OpenVINO's terms."""

    type: openvino.Type
    shape: tuple[int, ...]
    """Experts if it is of a mixture, rows, groups, weights to a group."""
    codes: Part
    """uint8, packed low half first; signed types in two's complement."""
    zero: Part | None
    """uint8, packed likewise, one per row and group."""
    scale: Part
    """One per row and group."""
    scales: openvino.Type
    """float16 where it holds every scale of the artifact exactly, else float32."""

    @property
    def bytes(self) -> int:
        """Size of all three."""
        return sum(part.bytes for part in (self.codes, self.zero, self.scale) if part is not None)


def read(artifact: Checkpoint, *linears: str) -> Compressed:
    """Tell of a linear of a compressed-tensors artifact of int4 or int8 weights, or of several, alike, one below the other."""
    rows, columns = artifact.whole(f"{linears[0]}.weight_shape").tolist()
    words = artifact.tensors[f"{linears[0]}.weight_packed"].shape[1]
    groups = artifact.tensors[f"{linears[0]}.weight_scale"].shape[1]
    bits = 4 if words == -(-columns * 4 // 32) else 8
    symmetric = f"{linears[0]}.weight_zero_point" not in artifact.tensors
    # compressed-tensors stores every code with an offset of half its range; two's complement flips the top bit.
    flip = (0x88 if bits == 4 else 0x80) if symmetric else 0
    half = all(_fits(artifact, linear) for linear in linears)
    each = len(linears) * rows * groups
    return Compressed(
        _TYPES[bits, symmetric],
        (len(linears) * rows, groups, columns // groups),
        Part(len(linears) * rows * columns * bits // 8, partial(_codes, artifact, linears, columns * bits // 8, flip)),
        None if symmetric else Part(-(-each * bits // 8), partial(_zeros, artifact, linears, bits, (rows, groups))),
        Part(each * (2 if half else 4), partial(_scales, artifact, linears, torch.float16 if half else torch.float32)),
        openvino.Type.f16 if half else openvino.Type.f32,
    )


def _fits(artifact: Checkpoint, linear: str) -> bool:
    scale = artifact.whole(f"{linear}.weight_scale").float()
    return torch.equal(scale.half().float(), scale)


def _codes(artifact: Checkpoint, linears: tuple[str, ...], width: int, flip: int) -> Iterator[Tensor]:
    for linear in linears:
        for _, words in artifact.chunks(f"{linear}.weight_packed"):
            yield words.view(torch.uint8)[:, :width].contiguous() ^ flip


def _zeros(artifact: Checkpoint, linears: tuple[str, ...], bits: int, shape: tuple[int, int]) -> Iterator[Tensor]:
    names = [f"{linear}.weight_zero_point" for linear in linears]
    signed = [unpack_from_int32(artifact.whole(name), bits, torch.Size(shape), packed_dim=0) for name in names]
    yield _pack(torch.cat(signed) + (1 << (bits - 1)), bits)


def _scales(artifact: Checkpoint, linears: tuple[str, ...], stored: torch.dtype) -> Iterator[Tensor]:
    for linear in linears:
        yield artifact.whole(f"{linear}.weight_scale").to(stored)


def _pack(values: Tensor, bits: int) -> Tensor:
    flat = values.view(torch.uint8).flatten()
    if bits == 8:
        return flat
    pairs = torch.nn.functional.pad(flat, (0, len(flat) % 2)).view(-1, 2)
    return pairs[:, 0] | pairs[:, 1] << 4


def rounded(artifact: Checkpoint, name: str) -> Compressed:
    """A matrix `[rows, columns]` rounded to nearest in 8 bits, asymmetric, one scale a row, as NNCF stores embeddings."""
    rows, columns = artifact.tensors[name].shape
    return Compressed(
        openvino.Type.u8,
        (rows, 1, columns),
        Part(rows * columns, lambda: (q.codes.view(torch.uint8) ^ 0x80 for q in _nearest(artifact, name))),
        Part(rows, lambda: (q.zero.view(torch.uint8) ^ 0x80 for q in _nearest(artifact, name) if q.zero is not None)),
        Part(2 * rows, lambda: (q.scale.half() for q in _nearest(artifact, name))),
        openvino.Type.f16,
    )


def _nearest(artifact: Checkpoint, name: str) -> Iterator[Codes]:
    kind = DTYPES["int8"].grid(False)
    for _, rows in artifact.chunks(name):
        wide = rows.float()
        scale, zero = minmax(grouped(wide, -1), kind, torch.float16)
        yield nearest(wide, scale, zero, kind, -1)
