"""What the compiled column loops share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numba
import numpy as np
import torch

from quantizers.dtypes import Grid

TILE = 64
"""Rows that pass a block of columns together, in memory of their own: a length known to the compiler, and a block that
stays in the first level of cache. A column is contiguous, so that the rows share every instruction."""

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


@compiled(inline="always")  # type: ignore[untyped-decorator]
def tile(array):  # type: ignore[no-untyped-def]
    """Memory for `TILE` rows of a `[columns, rows]` array; ones, so that nothing divides by zero beyond the last row."""
    return np.ones((len(array), TILE), array.dtype)


@compiled(inline="always")  # type: ignore[untyped-decorator]
def take(into, array, rows):  # type: ignore[no-untyped-def]
    """Copy some rows of an array to a tile."""
    into[:, : rows.stop - rows.start] = array[:, rows]


@compiled(inline="always")  # type: ignore[untyped-decorator]
def give(array, tile, rows):  # type: ignore[no-untyped-def]
    """Copy a tile back to its rows of an array."""
    array[:, rows] = tile[:, : rows.stop - rows.start]


def in_threads(loop: Callable[..., None], rows: int, *arrays: Any) -> None:
    """Call `loop(first, last, *arrays)` on ranges of the rows, one range per thread of torch.

    Rows are independent, so how they are shared out changes no bit.
    """
    bounds = np.linspace(0, rows, torch.get_num_threads() + 1).round().astype(int)
    if len(bounds) == 2:
        loop(0, rows, *arrays)
        return
    with ThreadPoolExecutor(len(bounds) - 1) as pool:
        list(pool.map(lambda first, last: loop(first, last, *arrays), bounds[:-1], bounds[1:]))


def codes_of(grid: Grid) -> tuple[np.ndarray, np.float32, np.float32]:
    """What loops are told of a grid: the values of a codebook (else none), and the lowest and highest code."""
    values = np.array(grid.values if grid.values is not None else (), dtype=np.float32)
    return values, np.float32(grid.low), np.float32(grid.high)
