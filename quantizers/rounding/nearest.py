"""Each weight takes the nearest code."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from catalog.dtypes import Grid
from quantizers.dtypes import Codes, grouped
from quantizers.rounding.kernel import codes_of, compiled, in_threads


def nearest(weight: Tensor, scale: Tensor, zero: Tensor | None, grid: Grid, group_size: int) -> Codes:
    """Codes of float32 `[out, in]` under `scale` and `zero`, float32 `[out, groups]`."""
    groups = grouped(weight, group_size).contiguous()
    codes = torch.empty(groups.shape, dtype=torch.int8)
    if grid.values is not None:
        values = codes_of(grid)[0]
        middles = (values[1:] + values[:-1]) / np.float32(2)
        in_threads(_nearest_value, len(groups), groups.numpy(), scale.contiguous().numpy(), codes.numpy(), middles)
        return Codes(codes.flatten(1), scale, None)
    shift = torch.zeros_like(scale) if zero is None else zero
    arrays = (groups.numpy(), scale.contiguous().numpy(), shift.contiguous().numpy(), codes.numpy())
    in_threads(_nearest, len(groups), *arrays, *codes_of(grid)[1:])
    return Codes(codes.flatten(1), scale, None if zero is None else zero.to(torch.int8))


@compiled()  # type: ignore[untyped-decorator]
def _nearest(first, last, groups, scale, zero, codes, low, high):  # type: ignore[no-untyped-def]
    for r in range(first, last):
        for g in range(groups.shape[1]):
            weights, levels, s, z = groups[r, g], codes[r, g], scale[r, g], zero[r, g]
            for i in range(len(weights)):
                level = np.rint(weights[i] / s) + z
                level = low if level < low else level
                level = high if level > high else level
                levels[i] = np.int8(np.int32(level))


@compiled()  # type: ignore[untyped-decorator]
def _nearest_value(first, last, groups, scale, codes, middles):  # type: ignore[no-untyped-def]
    shares = np.empty(groups.shape[2], np.float32)
    for r in range(first, last):
        for g in range(groups.shape[1]):
            weights, levels, s = groups[r, g], codes[r, g], scale[r, g]
            for i in range(len(weights)):
                shares[i] = weights[i] / s
                levels[i] = 0
            for middle in middles:
                for i in range(len(shares)):
                    levels[i] += shares[i] > middle
