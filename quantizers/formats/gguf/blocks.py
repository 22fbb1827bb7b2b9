"""Linears of a compressed-tensors artifact as blocks of GGML: the same integers and scales, 32 weights to a block.

| type | weight | block |
|---|---|---|
| Q4_0 | d (q - 8) | float16 d, 16 bytes: weights 0 to 15 in the low halves, 16 to 31 in the high ones |
| Q4_1 | d q + m | float16 d, float16 m, 16 bytes likewise |
| Q8_0 | d q | float16 d, 32 int8 |

An asymmetric weight d (q - z) has m = -d z. Codes, scales and zero points can be read back; m is the product rounded to float16.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from gguf import GGMLQuantizationType
from torch import Tensor

from quantizers.model.checkpoint import Checkpoint
from quantizers.recipe import Recipe

SIZE = 32
"""Weights to a block."""
_TYPES = {
    (4, True): GGMLQuantizationType.Q4_0,
    (4, False): GGMLQuantizationType.Q4_1,
    (8, True): GGMLQuantizationType.Q8_0,
}
"""By bits and symmetry."""


@dataclass(frozen=True)
class Blocks:
    """One linear in GGML's terms."""

    data: np.ndarray
    """uint8 `[rows, bytes of a row]`."""
    inexact: int
    """Scales that float16 does not hold exactly; those of an artifact in float16 or, from 2^-17 on, bfloat16 are."""


def type_of(recipe: Recipe) -> GGMLQuantizationType:
    """The type that holds the weights of one linear."""
    return _TYPES[recipe.bits, recipe.symmetric]


def read(artifact: Checkpoint, linear: str, order: Tensor | None = None) -> Blocks:
    """A linear of a compressed-tensors artifact of int4 or int8 weights in groups of 32.

    order: int64 (rows,): which row of the artifact each row of the result is; None: as they are.
    """
    rows, columns = artifact.whole(f"{linear}.weight_shape").tolist()
    words, scale = artifact.whole(f"{linear}.weight_packed"), artifact.whole(f"{linear}.weight_scale").float()
    bits = 4 if words.shape[1] == columns * 4 // 32 else 8
    zero = None
    if f"{linear}.weight_zero_point" in artifact.tensors:
        stored = artifact.whole(f"{linear}.weight_zero_point")
        zero = unpack_from_int32(stored, bits, torch.Size(scale.shape), packed_dim=0).float() + (1 << (bits - 1))
    if order is not None:
        words, scale, zero = words[order], scale[order], None if zero is None else zero[order]
    half = scale.half()
    parts = [half] if zero is None else [half, (-scale * zero).half()]
    # Every code is stored with an offset of half its range: unsigned, as Q4_0 and Q4_1 have it.
    codes = words.view(torch.uint8).reshape(rows, -1, SIZE * bits // 8)
    block = [part[..., None].view(torch.uint8) for part in parts]
    block.append(_halves(codes) if bits == 4 else codes ^ 0x80)
    data = torch.cat(block, -1).reshape(rows, -1).numpy()
    return Blocks(data, int((half.float() != scale).sum()))


def _halves(codes: Tensor) -> Tensor:
    """Bytes of neighbours, the first in the low half, as bytes of weights that are 16 apart."""
    flat = torch.stack([codes & 15, codes >> 4], -1).flatten(-2)
    return flat[..., : SIZE // 2] | flat[..., SIZE // 2 :] << 4
