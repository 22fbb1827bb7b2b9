"""Grids: what one weight may become, and the arithmetic between weights, codes and scales.

A weight matrix is `[out, in]`; `group_size` consecutive inputs of one output share a scale (and a zero point).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from quantizers.recipe import BITS, CODEBOOKS, Recipe

# QLoRA, arXiv:2305.14314, appendix E.
NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)


def _signed(magnitudes: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(-m for m in reversed(magnitudes) if m) + magnitudes


# OCP Microscaling Formats (MX) v1.0, table 5: two exponent bits, one mantissa bit.
FP4_E2M1 = _signed((0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0))
# bitsandbytes `get_4bit_type("fp4")`, in twelfths.
FP4_BNB = _signed(tuple(m / 12 for m in (0.0, 0.0625, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)))
# neural-compressor's "fp4_e2m1": (0, 0.0625, 1, 1.5, 2, 3, 4, 6) over 6.
FP4_INC = _signed(tuple(m / 6 for m in (0.0, 0.0625, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)))

_VALUES = {"nf4": NF4, "fp4_e2m1": FP4_E2M1, "fp4_bnb": FP4_BNB, "fp4_inc": FP4_INC}


@dataclass(frozen=True)
class Grid:
    """The codes one weight may take.

    An integer grid holds `low … high`, stored signed; a codebook holds the indices of `values`, ascending.
    A weight is `(code - zero) * scale`, or `values[code] * scale`.
    """

    name: str
    bits: int
    symmetric: bool
    low: int
    high: int
    peak: float
    """The code, or codebook value, that the largest magnitude of a group falls on (symmetric grids)."""
    flips: bool = False
    """Whether the scale is negative where the largest magnitude is positive, so that it meets `low` exactly."""
    values: tuple[float, ...] | None = None

    @property
    def levels(self) -> int:
        """Steps between the lowest and the highest code."""
        return self.high - self.low


@cache
def grid(dtype: str, symmetric: bool = True) -> Grid:
    """The grid of a recipe's `dtype`; `symmetric` matters for int2 … int8 only."""
    bits = BITS[dtype]
    if dtype in CODEBOOKS:
        values = _VALUES[dtype]
        return Grid(dtype, bits, True, 0, len(values) - 1, values[-1], values=values)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if dtype == "int4_fullrange":
        return Grid(dtype, bits, True, low, high, -low, flips=True)
    if dtype == "int4_clip":
        return Grid(dtype, bits, True, -high, high, high)
    return Grid(dtype, bits, symmetric, low, high, high)


def grid_of(recipe: Recipe) -> Grid:
    """The grid a recipe stores its weights on."""
    return grid(recipe.dtype, recipe.symmetric)


@dataclass(frozen=True)
class Codes:
    """One quantized matrix, or some of its rows."""

    codes: Tensor
    """int8 `[out, in]`."""
    scale: Tensor
    """float32 `[out, groups]`, already rounded to the dtype it is stored in."""
    zero: Tensor | None
    """int8 `[out, groups]`, on the same signed grid as `codes`; None when symmetric."""


def grouped(weight: Tensor, group_size: int) -> Tensor:
    """View `[out, in]` as `[out, groups, group_size]`; -1 is one group per output channel."""
    return weight.reshape(len(weight), -1, weight.shape[1] if group_size == -1 else group_size)


def scale_from(low: Tensor, high: Tensor, grid: Grid, stored: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Scale (and zero point) that makes the grid span `low … high`, both float32 of any one shape.

    The scale comes back as float32, rounded to `stored`: codes are chosen for the scale that the loader will read.
    An all-zero group gets the scale that neural-compressor gives it, so that nothing divides by zero.
    """
    if grid.symmetric:
        peak = torch.maximum(low.abs(), high.abs())
        peak = torch.where(peak == 0, torch.ones_like(peak), peak)
        scale = _stored(peak / grid.peak, stored)
        return (torch.where(high.abs() > low.abs(), -scale, scale) if grid.flips else scale), None
    low, high = low.clamp(max=0), high.clamp(min=0)
    empty = (low == 0) & (high == 0)
    low, high = torch.where(empty, -1.0, low), torch.where(empty, 1.0, high)
    scale = _stored((high - low) / grid.levels, stored)
    return scale, (torch.round(-low / scale) + grid.low).clamp_(grid.low, grid.high)


def _stored(scale: Tensor, dtype: torch.dtype) -> Tensor:
    # A scale that underflows to zero would make every code infinite.
    return scale.to(dtype).float().clamp_(min=torch.finfo(dtype).tiny)


def encode(weight: Tensor, scale: Tensor, zero: Tensor | None, grid: Grid) -> Tensor:
    """Nearest code of each weight, as float32 of the same shape; `scale` and `zero` broadcast."""
    if grid.values is not None:
        values = torch.tensor(grid.values)
        return torch.bucketize(weight / scale, (values[1:] + values[:-1]) / 2).float()
    codes = torch.round(weight / scale)
    return (codes if zero is None else codes.add_(zero)).clamp_(grid.low, grid.high)


def decode(codes: Tensor, scale: Tensor, zero: Tensor | None, grid: Grid) -> Tensor:
    """Weights that float32 codes stand for, in float32; `scale` and `zero` broadcast."""
    if grid.values is not None:
        return torch.tensor(grid.values)[codes.long()] * scale
    return (codes if zero is None else codes - zero) * scale


def dequantize(q: Codes, grid: Grid) -> Tensor:
    """The float32 `[out, in]` matrix that `q` stands for."""
    size = q.codes.shape[1] // q.scale.shape[1]
    zero = None if q.zero is None else q.zero.float()[..., None]
    return decode(grouped(q.codes.float(), size), q.scale[..., None], zero, grid).flatten(1)
