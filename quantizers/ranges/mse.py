"""The grid spans the share of the group's extremes that leaves the least squared error."""

from __future__ import annotations

import torch
from torch import Tensor

from catalog.dtypes import Grid
from quantizers.dtypes import decode, encode, scale_from
from quantizers.hardware.threads import pieces, side_by_side
from quantizers.ranges.extremes import extremes

ROWS = 256
"""Rows that are searched together."""

SHRINKS = tuple(1 - step / 40 for step in range(21))
"""Shares of the extremes that are tried, the whole range first."""


def mse(
    groups: Tensor, grid: Grid, stored: torch.dtype, importance: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Scale and zero point, float32 `[out, groups]`, of float32 `[out, groups, group_size]`.

    `importance` weighs the error of each input, float32 `[groups, group_size]`: the mean square of the activation
    that meets it (AWQ's clip search, arXiv:2306.00978 §4, with the cross terms left out). None weighs all alike.
    """
    parts = side_by_side(lambda rows: _mse(groups[rows], grid, stored, importance), pieces(len(groups), ROWS))
    scales, zeros = zip(*parts, strict=True)
    return torch.cat(scales), None if zeros[0] is None else torch.cat(zeros)


def _mse(groups: Tensor, grid: Grid, stored: torch.dtype, importance: Tensor | None) -> tuple[Tensor, Tensor | None]:
    low, high = extremes(groups)
    scale, zero = scale_from(low, high, grid, stored)
    least = _error(groups, scale, zero, grid, importance)
    for share in SHRINKS[1:]:
        other, shifted = scale_from(low * share, high * share, grid, stored)
        error = _error(groups, other, shifted, grid, importance)
        better = error < least
        least = torch.where(better, error, least)
        scale = torch.where(better, other, scale)
        if zero is not None and shifted is not None:
            zero = torch.where(better, shifted, zero)
    return scale, zero


def _error(groups: Tensor, scale: Tensor, zero: Tensor | None, grid: Grid, importance: Tensor | None) -> Tensor:
    zero = None if zero is None else zero[..., None]
    scale = scale[..., None]
    square = decode(encode(groups, scale, zero, grid), scale, zero, grid).sub_(groups).square_()
    return (square if importance is None else square.mul_(importance)).sum(-1)
