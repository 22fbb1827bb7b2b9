"""The arithmetic between weights, codes and scales on the grids of `catalog.dtypes`.

A weight matrix is `[out, in]`; `group_size` consecutive inputs of one output share a scale (and a zero point).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from catalog.dtypes import Grid


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
