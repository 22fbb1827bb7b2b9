"""Each weight takes the nearest code."""

from __future__ import annotations

import torch
from torch import Tensor

from quantizers.dtypes import Codes, Grid, encode, grouped


def nearest(weight: Tensor, scale: Tensor, zero: Tensor | None, grid: Grid, group_size: int) -> Codes:
    """Codes of float32 `[out, in]` under `scale` and `zero`, float32 `[out, groups]`."""
    codes = encode(grouped(weight, group_size), scale[..., None], None if zero is None else zero[..., None], grid)
    return Codes(codes.flatten(1).to(torch.int8), scale, None if zero is None else zero.to(torch.int8))
