"""The grid spans the group's extremes."""

from __future__ import annotations

import torch
from torch import Tensor

from catalog.dtypes import Grid
from quantizers.dtypes import scale_from
from quantizers.ranges.extremes import extremes


def minmax(
    groups: Tensor, grid: Grid, stored: torch.dtype, importance: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Scale and zero point, float32 `[out, groups]`, of float32 `[out, groups, group_size]`; ignores `importance`."""
    low, high = extremes(groups)
    return scale_from(low, high, grid, stored)
