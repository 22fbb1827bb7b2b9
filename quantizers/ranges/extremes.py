"""Least and greatest weight of every group."""

from __future__ import annotations

import torch
from torch import Tensor

from quantizers.rounding.kernel import compiled, in_threads


def extremes(groups: Tensor) -> tuple[Tensor, Tensor]:
    """Both float32 `[out, groups]`, of float32 `[out, groups, group_size]`; a NaN in a group is not passed on."""
    groups = groups.contiguous()
    low, high = torch.empty(groups.shape[:2]), torch.empty(groups.shape[:2])
    in_threads(_extremes, len(groups), groups.numpy(), low.numpy(), high.numpy())
    return low, high


@compiled()  # type: ignore[untyped-decorator]
def _extremes(first, last, groups, low, high):  # type: ignore[no-untyped-def]
    for r in range(first, last):
        for g in range(groups.shape[1]):
            group = groups[r, g]
            least = greatest = group[0]
            for weight in group:
                least = weight if weight < least else least
                greatest = weight if weight > greatest else greatest
            low[r, g], high[r, g] = least, greatest
