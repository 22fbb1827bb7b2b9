"""Bounds on what a task score keeps. Imports no torch."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from gates.evidence import TaskScores
from gates.statistics.estimate import Estimate
from gates.statistics.intervals import estimate
from gates.statistics.shares import share


def recovery(scores: TaskScores, confidence: float) -> Estimate | None:
    """Estimate the artifact's score over the original's on the same items; None when the original scores nothing.

    For right-or-wrong items the difference is bounded by Tango's score interval for paired proportions (Statistics in
    Medicine 17, 1998), which stays honest when few or no items changed: no change in 20 items does not prove 98 %.
    Responses equal to the last bit on every item are no sample but the same function: their recovery is exactly 1.
    """
    original, artifact = np.array(scores.original), np.array(scores.artifact)
    n, total = len(original), float(original.sum())
    if total <= 0:
        return None
    value = float(artifact.sum()) / total
    if scores.identical:
        return Estimate(value=value, low=value, high=value, confidence=confidence, documents=n)
    if not set(scores.original) | set(scores.artifact) <= {0.0, 1.0}:
        if scores.original == scores.artifact:
            return _unchanged(original, confidence)
        return estimate(artifact, original, confidence)
    lost = int(((original == 1) & (artifact == 0)).sum())
    gained = int(((original == 0) & (artifact == 1)).sum())
    return Estimate(
        value=value,
        low=1 - _most(n, lost, gained, confidence) * n / total,
        high=1 + _most(n, gained, lost, confidence) * n / total,
        confidence=confidence,
        documents=n,
    )


def _unchanged(original: NDArray[np.float64], confidence: float) -> Estimate:
    """That no item changed is no proof that none does: as many may as the exact binomial bound leaves, the best of them
    from all to nothing."""
    n = len(original)
    changed = share([0.0] * n, [1] * n, confidence)
    if changed is None or changed.high is None:
        return Estimate(value=1, low=None, high=None, confidence=confidence, documents=n)
    most = changed.high * float(original.max() / original.mean())
    return Estimate(value=1, low=1 - most, high=1 + most, confidence=confidence, documents=n)


def _most(n: int, lost: int, gained: int, confidence: float) -> float:
    """Upper score bound of the difference p(lost) - p(gained) between paired proportions, by bisection."""
    z = NormalDist().inv_cdf(confidence)
    low, high = (lost - gained) / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _score(n, lost, gained, middle) <= -z else (middle, high)
    return high


def _score(n: int, lost: int, gained: int, difference: float) -> float:
    """Tango's statistic for a true difference strictly between the observed one and 1."""
    a = 2 * n
    b = -lost - gained + (2 * n - lost + gained) * difference
    c = -gained * difference * (1 - difference)
    restricted = (sqrt(b * b - 4 * a * c) - b) / (2 * a)
    variance = n * (2 * restricted + difference * (1 - difference))
    return (lost - gained - n * difference) / sqrt(variance) if variance > 0 else -np.inf
