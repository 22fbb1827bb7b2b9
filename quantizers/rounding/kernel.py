"""The compiled loop over columns, and what compiled loops share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from torch import Tensor

from catalog.dtypes import Grid
from quantizers.hardware.threads import cores, side_by_side

TILE = 32
"""Rows that pass a block of columns together: a length known to the compiler, and errors of a block that stay in the
first level of cache. A column is contiguous, so that the rows share every instruction."""

compiled = partial(numba.njit, nogil=True, cache=True, error_model="numpy", fastmath={"contract"})


@compiled(inline="always")  # type: ignore[untyped-decorator]
def nearest_codes(aims, zeros, codes, levels, values, low, high):  # type: ignore[no-untyped-def]
    """Codes next to `aims`, weights over their scale, and the levels these stand for under a scale of one.

    All are `[TILE]`; the outcome is written to `codes` and `levels`.
    """
    if values.size:
        for r in range(TILE):
            code = 0
            for k in range(values.size - 1):
                code += aims[r] > (values[k] + values[k + 1]) / np.float32(2)
            codes[r] = code
            levels[r] = values[code]
    else:
        for r in range(TILE):
            level = np.rint(aims[r]) + zeros[r]
            level = low if level < low else level
            level = high if level > high else level
            codes[r] = np.int8(np.int32(level))
            levels[r] = level - zeros[r]


@compiled()  # type: ignore[untyped-decorator]
def sweep(first, last, pull, error, codes, scale, zero, group, square, share, step, values, low, high):  # type: ignore[no-untyped-def]
    """Round the columns of a block one after the other, from the first or (`step` -1) from the last.

    Column i aims at its weight and `share[i]` times its pull, to which every column j before it added its error times
    `square[j, i]`. `error` comes in as the weights; it and `codes` are written.

    `pull`, `error` and `codes` are `[columns, rows]`, `scale` and `zero` `[groups, rows]`, `square` `[columns, columns]`,
    `group` and `share` `[columns]`.
    """
    count = len(pull)
    e, c = np.zeros((count, TILE), np.float32), np.zeros(TILE, np.int8)
    p, s, z = np.zeros(TILE, np.float32), np.ones(TILE, np.float32), np.zeros(TILE, np.float32)
    aims, levels = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    for begin in range(first, last, TILE):
        width = min(TILE, last - begin)
        for i in range(count) if step > 0 else range(count - 1, -1, -1):
            g = group[i]
            take(e[i], error[i], begin, width), take(p, pull[i], begin, width)
            take(s, scale[g], begin, width), take(z, zero[g], begin, width)
            before, behind = (0, i) if step > 0 else (i + 1, count)
            # Four at a time: the pull is read and written once for four errors.
            for j in range(before, behind - 3, 4):
                a, b, u, v = square[j, i], square[j + 1, i], square[j + 2, i], square[j + 3, i]
                for r in range(TILE):
                    p[r] += e[j, r] * a + e[j + 1, r] * b + e[j + 2, r] * u + e[j + 3, r] * v
            for j in range(behind - (behind - before) % 4, behind):
                for r in range(TILE):
                    p[r] += e[j, r] * square[j, i]
            for r in range(TILE):
                aims[r] = (e[i, r] + p[r] * share[i]) / s[r]
            nearest_codes(aims, z, c, levels, values, low, high)
            for r in range(TILE):
                e[i, r] -= levels[r] * s[r]
            for r in range(width):
                codes[i, begin + r], error[i, begin + r] = c[r], e[i, r]


@compiled(inline="always")  # type: ignore[untyped-decorator]
def take(into, row, begin, width):  # type: ignore[no-untyped-def]
    """Copy a part of a row; what lies beyond `width` stays as it is."""
    for r in range(width):
        into[r] = row[begin + r]


def in_threads(loop: Callable[..., None], rows: int, *arrays: Any) -> None:
    """Call `loop(first, last, *arrays)` on ranges of the rows, one range per core.

    Rows are independent, so how they are shared out changes no bit.
    """
    bounds = np.linspace(0, rows, cores() + 1).round().astype(int)
    side_by_side(lambda cut: loop(*cut, *arrays), pairwise(bounds))


def by_group(scale: Tensor, zero: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """Scales and zero points (zeros where there are none) of `[out, groups]` as contiguous float32 `[groups, out]`."""
    scales: np.ndarray = scale.T.contiguous().numpy()
    return scales, np.zeros_like(scales) if zero is None else zero.T.float().contiguous().numpy()


def codes_of(grid: Grid) -> tuple[np.ndarray, np.float32, np.float32]:
    """What loops are told of a grid: the values of a codebook (else none), and the lowest and highest code."""
    values = np.array(grid.values if grid.values is not None else (), dtype=np.float32)
    return values, np.float32(grid.low), np.float32(grid.high)
