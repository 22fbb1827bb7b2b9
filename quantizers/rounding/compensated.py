"""Second-order error feedback: each column's rounding error is spread over the columns not yet rounded.

GPTQ, arXiv:2210.17323, with its static groups and descending activation order: scales are fixed before the first
column is rounded, so that columns may be taken in any order and the format stays the plain one.
"""

from __future__ import annotations

import numba
import torch
from scipy.linalg.lapack import spotrf, spotri
from torch import Tensor

from quantizers.dtypes import Codes, Grid
from quantizers.errors import QuantizeError
from quantizers.rounding.kernel import in_threads, nearest_code

DAMPING = 0.01
"""Added to the diagonal of the second moment, as a share of its mean."""
BLOCK = 128
"""Columns that are rounded before the error reaches the columns behind them as one matrix product."""


def compensated(
    weight: Tensor, scale: Tensor, zero: Tensor | None, grid: Grid, group_size: int, factor: tuple[Tensor, Tensor]
) -> Codes:
    """Codes of float32 `[out, in]` under `scale` and `zero`, float32 `[out, groups]`; `factor` is from `factorize`.

    Linears that share an input share a factor: stack their rows and solve once.
    """
    order, upper = factor
    rows, columns = weight.shape
    group = torch.arange(columns) // (columns if group_size == -1 else group_size)
    group = group[order]
    left = weight[:, order].contiguous()
    codes = torch.empty(rows, columns, dtype=torch.int8)
    shift = torch.zeros_like(scale) if zero is None else zero
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        now = group[start:stop]
        error = torch.empty(rows, stop - start)
        arguments = (
            left[:, start:stop].contiguous(),
            scale[:, now].contiguous(),
            shift[:, now].contiguous(),
            codes[:, start:stop].contiguous(),
            error,
        )
        in_threads(_columns, [a.numpy() for a in arguments], upper[start:stop, start:stop].contiguous().numpy(), grid)
        codes[:, start:stop] = arguments[3]
        if stop < columns:
            left[:, stop:].addmm_(error, upper[start:stop, stop:], alpha=-1)
    restored = torch.empty_like(codes)
    restored[:, order] = codes
    return Codes(restored, scale, None if zero is None else zero.to(torch.int8))


def factorize(moment: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Order of the columns, int64 `[in]`, and the upper Cholesky factor of the inverse of a second moment, `[in, in]`.

    Args:
        moment: float32 `[in, in]`, the sum or mean of outer products of the inputs.
        scale: float32 `[in]`; the inputs were divided by it after the moment was taken.

    Raises:
        QuantizeError: the moment is not finite, or stays indefinite however much it is damped.
    """
    scale = torch.ones(len(moment)) if scale is None else scale
    diagonal = moment.diagonal() / scale.square()
    if not bool(torch.isfinite(diagonal).all()):
        raise QuantizeError(
            "The calibration text drives an activation to NaN or infinity. Use a model whose original runs on this "
            "text without overflow, or a recipe with nearest rounding."
        )
    order = torch.argsort(diagonal, descending=True, stable=True)
    step = DAMPING * float(diagonal.double().mean()) or 1.0
    for attempt in range(6):
        ordered = damped(moment[order[:, None], order], scale[order])
        ordered.diagonal().add_(step * (4**attempt - 1))
        # A symmetric matrix read by columns is itself: LAPACK works in place, in one matrix of memory.
        matrix, failed = spotrf(ordered.numpy().T, lower=0, overwrite_a=1)
        if not failed:
            matrix, failed = spotri(matrix, lower=0, overwrite_c=1)
        if not failed:
            matrix, failed = spotrf(matrix, lower=0, overwrite_a=1, clean=1)
        if not failed:
            return order, torch.from_numpy(matrix)
    raise QuantizeError(
        "The second moment of a layer's inputs cannot be inverted. Calibrate on more text, or use nearest rounding."
    )


def damped(moment: Tensor, scale: Tensor) -> Tensor:
    """Divide the inputs of a second moment, float32 `[in, in]`, by `scale` and raise its diagonal by a share of its mean.

    In place; returns `moment`.
    """
    moment /= scale
    moment /= scale[:, None]
    moment.diagonal().add_(DAMPING * float(moment.diagonal().double().mean()) or 1.0)
    return moment


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})  # type: ignore[untyped-decorator]
def _columns(weight, scale, zero, codes, error, upper, values, low, high):  # type: ignore[no-untyped-def]
    rows, columns = weight.shape
    for r in range(rows):
        row = weight[r]
        for i in range(columns):
            s = scale[r, i]
            code, level = nearest_code(row[i] / s, zero[r, i], values, low, high)
            codes[r, i] = code
            e = (row[i] - level * s) / upper[i, i]
            error[r, i] = e
            for j in range(i + 1, columns):
                row[j] -= e * upper[i, j]
