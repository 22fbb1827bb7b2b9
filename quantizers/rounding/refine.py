"""Scales and codes in turn, each the best for the other, after compensated rounding.

Both steps lower the output error tr(E H Eᵀ) and nothing else: scales by least squares over the groups of a row, codes by
coordinate descent over the columns (QuantEase, arXiv:2309.01885).
"""

from __future__ import annotations

import torch
from torch import Tensor

from catalog.dtypes import Grid
from quantizers.dtypes import Codes, decode, dequantize, grouped
from quantizers.hardware.threads import pieces, side_by_side
from quantizers.rounding.kernel import by_group, codes_of, sweep

ROUNDS = 2
ROWS = 512
"""Rows that are refined together: rows are independent."""
BLOCK = 128
"""Columns that are visited before their change reaches the residual of the others as one matrix product."""


def refine(weight: Tensor, q: Codes, grid: Grid, moment: Tensor, stored: torch.dtype) -> Codes:
    """Codes and scales whose output error is that of `q` or less.

    Args:
        weight: float32 `[out, in]`.
        q: a rounding of it.
        grid: the grid of `q`.
        moment: float32 `[in, in]`, damped as it was for `q`.
        stored: dtype that scales are rounded to.
    """

    def refined(rows: slice) -> Codes:
        part = Codes(q.codes[rows], q.scale[rows], None if q.zero is None else q.zero[rows])
        for _ in range(ROUNDS):
            scale = _scales(weight[rows], part, grid, moment, stored)
            part = _descend(weight[rows], Codes(part.codes, scale, part.zero), grid, moment)
        return part

    parts = side_by_side(refined, pieces(len(weight), ROWS))
    return Codes(torch.cat([part.codes for part in parts]), torch.cat([part.scale for part in parts]), q.zero)


def _levels(q: Codes, grid: Grid) -> Tensor:
    """What the codes stand for under a scale of one, float32 `[out, groups, group_size]`."""
    codes = grouped(q.codes.float(), q.codes.shape[1] // q.scale.shape[1])
    return decode(codes, torch.ones(1), None if q.zero is None else q.zero.float()[..., None], grid)


def _scales(weight: Tensor, q: Codes, grid: Grid, moment: Tensor, stored: torch.dtype) -> Tensor:
    levels = _levels(q, grid)
    rows, groups, size = levels.shape
    normal, right = torch.empty(rows, groups, groups), torch.empty(rows, groups)
    for group in range(groups):
        pushed = levels[:, group] @ moment[group * size : (group + 1) * size]
        normal[:, group] = (pushed.view(rows, groups, size) * levels).sum(-1)
        right[:, group] = (pushed * weight).sum(-1)
    diagonal = normal.diagonal(dim1=-2, dim2=-1)
    diagonal += 1e-4 * diagonal.mean(-1, keepdim=True).clamp(min=1e-30)
    step = torch.linalg.solve(normal, right - (normal @ q.scale[..., None])[..., 0])
    other = (q.scale + step).to(stored).float()
    share = other / q.scale
    other = torch.where(torch.isfinite(share) & (share > 0.5) & (share < 2), other, q.scale)
    better = _error(normal, right, other) < _error(normal, right, q.scale)
    return torch.where(better[:, None], other, q.scale)


def _error(normal: Tensor, right: Tensor, scale: Tensor) -> Tensor:
    return ((normal @ scale[..., None])[..., 0] * scale - 2 * right * scale).sum(-1)


def _descend(weight: Tensor, q: Codes, grid: Grid, moment: Tensor) -> Codes:
    columns = weight.shape[1]
    group = (torch.arange(columns) // (columns // q.scale.shape[1])).numpy()
    constants, share = by_group(q.scale, q.zero), (1 / moment.diagonal()).numpy()
    codes, now = q.codes.T.contiguous(), dequantize(q, grid).T.contiguous()
    pull = moment @ (weight.T - now)
    for start in range(0, columns, BLOCK):
        cut = slice(start, min(start + BLOCK, columns))
        square = moment[cut, cut].contiguous().numpy()
        rounded = (pull[cut].numpy(), now[cut].numpy(), codes[cut].numpy())
        sweep(0, len(weight), *rounded, *constants, group[cut], square, share[cut], 1, *codes_of(grid))
        if cut.stop < columns:
            pull[cut.stop :].addmm_(moment[cut.stop :, cut], now[cut])
    return Codes(codes.T.contiguous(), q.scale, q.zero)
