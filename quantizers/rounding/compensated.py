"""Second-order error feedback: each column's rounding error is spread over the columns not yet rounded.

GPTQ, arXiv:2210.17323, with its static groups and descending activation order: scales are fixed before the first
column is rounded, so that columns may be taken in any order and the format stays the plain one.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from catalog.dtypes import Grid
from quantizers.dtypes import Codes
from quantizers.errors import QuantizeError
from quantizers.hardware.threads import pieces, side_by_side
from quantizers.rounding.kernel import by_group, codes_of, sweep

DAMPING = 0.01
"""Added to the diagonal of the second moment, as a share of its mean."""
BLOCK = 128
"""Columns that are rounded before the error reaches the columns behind them as one matrix product."""
ROWS = 512
"""Rows that are rounded together: rows are independent."""
PANEL, TRAILING = 256, 512
"""Columns of a factor that are found together; columns behind them that are brought up to date together."""


def compensated(
    weight: Tensor, scale: Tensor, zero: Tensor | None, grid: Grid, group_size: int, factor: tuple[Tensor, Tensor]
) -> Codes:
    """Codes of float32 `[out, in]` under `scale` and `zero`, float32 `[out, groups]`; `factor` is from `factorize`.

    Linears that share an input share a factor: stack their rows and solve once.
    """
    order, feedback = factor
    columns = weight.shape[1]
    group = (order // (columns if group_size == -1 else group_size)).numpy()
    codes = torch.empty(weight.shape, dtype=torch.int8)

    def round_rows(rows: slice) -> None:
        constants = by_group(scale[rows], None if zero is None else zero[rows])
        codes[rows] = _swept(weight[rows], order, feedback, group, constants, grid)

    side_by_side(round_rows, pieces(len(weight), ROWS))
    return Codes(codes, scale, None if zero is None else zero.to(torch.int8))


def _swept(
    weight: Tensor,
    order: Tensor,
    feedback: Tensor,
    group: np.ndarray,
    constants: tuple[np.ndarray, np.ndarray],
    grid: Grid,
) -> Tensor:
    error = weight.index_select(1, order).T.contiguous()
    pull, codes = torch.zeros_like(error), torch.empty_like(error, dtype=torch.int8)
    share = np.ones(BLOCK, np.float32)
    for stop in range(len(order), 0, -BLOCK):
        cut = slice(max(0, stop - BLOCK), stop)
        rounded = (pull[cut].numpy(), error[cut].numpy(), codes[cut].numpy())
        square = feedback[cut, cut].contiguous().numpy()
        sweep(0, len(weight), *rounded, *constants, group[cut], square, share, -1, *codes_of(grid))
        if cut.start:
            pull[: cut.start].addmm_(feedback[cut, : cut.start].T, error[cut])
    restored = torch.empty_like(codes)
    restored[order] = codes
    return restored.T


def factorize(moment: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Order of the columns, int64 `[in]`, the last to be rounded first, and what a column's error adds to the others.

    The second moment, its rows and columns in that order, is F D Fᵀ with F unit lower triangular, float32 `[in, in]`:
    the error is least when column k aims at its weight plus the sum of F[j, k] times the error of each column j behind
    it. This is GPTQ's recursion without the inverse (QuIP, arXiv:2307.13304, theorem 6), at a quarter of the work.

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
    order = torch.argsort(diagonal, stable=True)
    step = DAMPING * float(diagonal.double().mean()) or 1.0
    for attempt in range(6):
        ordered = moment.index_select(0, order)
        for rows in torch.split(ordered, BLOCK):
            rows.copy_(rows.index_select(1, order))
        damped(ordered, scale[order])
        ordered.diagonal().add_(step * (4**attempt - 1))
        if _cholesky(ordered):
            return order, ordered.div_(ordered.diagonal().clone())
    raise QuantizeError(
        "The second moment of a layer's inputs cannot be factorized. Calibrate on more text, or use nearest rounding."
    )


def _cholesky(matrix: Tensor) -> bool:
    """Put the Cholesky factor of a float32 `[n, n]` matrix in its lower half, in place; False where it is not definite.

    Panel by panel, for LAPACK's own way to share the work among threads changes the bits.
    """
    for panel in pieces(len(matrix), PANEL):
        corner, failed = torch.linalg.cholesky_ex(matrix[panel, panel])
        if failed:
            return False
        matrix[panel, panel] = corner
        behind = matrix[panel.stop :, panel]
        rest = matrix[panel.stop :, panel.stop :]

        def solve(rows: slice, corner: Tensor = corner, behind: Tensor = behind) -> None:
            behind[rows] = torch.linalg.solve_triangular(corner.mT, behind[rows], upper=True, left=False)

        def update(cut: slice, behind: Tensor = behind, rest: Tensor = rest) -> None:
            rest[cut.start :, cut].addmm_(behind[cut.start :], behind[cut].mT, alpha=-1)

        side_by_side(solve, pieces(len(behind), TRAILING))
        side_by_side(update, pieces(len(behind), TRAILING))
    return True


def damped(moment: Tensor, scale: Tensor) -> Tensor:
    """Divide the inputs of a second moment, float32 `[in, in]`, by `scale` and raise its diagonal by a share of its mean.

    In place; returns `moment`.
    """
    moment /= scale
    moment /= scale[:, None]
    moment.diagonal().add_(DAMPING * float(moment.diagonal().double().mean()) or 1.0)
    return moment
