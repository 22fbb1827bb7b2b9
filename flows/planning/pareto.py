"""The Pareto front of bytes and divergence over all mixes of dtypes: a multiple-choice knapsack, solved for every budget.

Dynamic programming over the groups of linears, dominated mixes dropped after each (Nemhauser and Ullmann, 1969).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantizers.request import GroupCost

POINTS = 1 << 14
"""Mixes kept after each group. Up to that many the front is exact; beyond, each step may miss a mix smaller by one part
in this many of the front's width."""


@dataclass(frozen=True)
class Front:
    """Mixes that no other beats in both bytes and divergence, by growing size."""

    bytes: NDArray[np.int64]
    kld: NDArray[np.float64]
    """Predicted, nats per token: the sum over the groups."""
    _dtypes: tuple[tuple[str, ...], ...]
    _trail: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]
    """For each group: the point a point came from, and the dtype it took."""

    def fitting(self, room: float) -> int:
        """Return the point of the largest mix of at most `room` bytes, which diverges least; -1 when none fits."""
        return int(np.searchsorted(self.bytes, room, side="right")) - 1

    def mix(self, point: int) -> tuple[str, ...]:
        """Return the dtype of each group at one point of the front."""
        chosen = []
        for (before, taken), dtypes in zip(reversed(self._trail), reversed(self._dtypes), strict=True):
            chosen.append(dtypes[taken[point]])
            point = int(before[point])
        return tuple(reversed(chosen))


def front(choices: Sequence[GroupCost]) -> Front:
    """Return the front over all mixes of the choices' dtypes."""
    size, kld = np.zeros(1, dtype=np.int64), np.zeros(1)
    dtypes, trail = [], []
    for choice in choices:
        names = tuple(choice.bytes)
        sizes = (size[:, None] + np.array([choice.bytes[name] for name in names])).ravel()
        klds = (kld[:, None] + np.array([choice.kld[name] for name in names])).ravel()
        kept = _thinned(sizes, _undominated(sizes, klds))
        size, kld = sizes[kept], klds[kept]
        dtypes.append(names)
        trail.append((kept // len(names), kept % len(names)))
    return Front(size, kld, tuple(dtypes), tuple(trail))


def _undominated(size: NDArray[np.int64], kld: NDArray[np.float64]) -> NDArray[np.int64]:
    order = np.lexsort((kld, size))
    least = np.minimum.accumulate(kld[order])
    return order[np.concatenate(([True], least[1:] < least[:-1]))]


def _thinned(size: NDArray[np.int64], kept: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(kept) <= POINTS:
        return kept
    sizes = size[kept]
    part = (sizes - sizes[0]) * POINTS // (sizes[-1] - sizes[0])
    # Of each part of the width the least diverging, which is the last; and the smallest of all.
    last = np.concatenate((part[1:] != part[:-1], [True]))
    last[0] = True
    return kept[last]
