"""What the compiled column loops share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch

from quantizers.dtypes import Grid


@numba.njit(nogil=True, cache=True, inline="always", error_model="numpy", fastmath={"contract"})  # type: ignore[untyped-decorator]
def nearest_code(x, zero, values, low, high):  # type: ignore[no-untyped-def]
    """Code next to `x`, a weight over its scale, and what it stands for under a scale of one."""
    if values.size:
        code = 0
        for k in range(values.size - 1):
            code += x > (values[k] + values[k + 1]) / np.float32(2)
        return code, values[code]
    level = min(max(np.rint(x) + zero, np.float32(low)), np.float32(high))
    return int(level), level - zero


def in_threads(loop: Callable[..., None], arrays: list[np.ndarray], square: np.ndarray, grid: Grid) -> None:
    """Call `loop` on slices of the rows of `arrays`, one slice per thread of torch.

    Rows are independent, so how they are shared out changes no bit.
    """
    values = np.array(grid.values if grid.values is not None else (), dtype=np.float32)
    parts = [part for part in np.array_split(np.arange(len(arrays[0])), torch.get_num_threads()) if len(part)]

    def run(rows: np.ndarray) -> None:
        cut = slice(int(rows[0]), int(rows[-1]) + 1)
        loop(*(array[cut] for array in arrays), square, values, grid.low, grid.high)

    if len(parts) == 1:
        run(parts[0])
        return
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(run, parts))
