"""Confidence bounds for a ratio of sums over documents. Imports numpy and scipy only: verdicts are judged without torch.

Every quantity a gate judges is a ratio of sums over documents, R = sum(y) / sum(x): loss change per token (y: change in
summed loss, x: tokens), divergence per token, recovered items over original ones. Documents are the independent units,
tokens within one are not; so each document is one observation, original and artifact together (paired).
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from gates.statistics.estimate import Estimate, careful

Array = NDArray[np.float64]

_WIDEST = 1e9
"""Standard errors from the estimate within which a bound is looked for."""


def estimate(amounts: ArrayLike, sizes: ArrayLike, confidence: float) -> Estimate:
    """Estimate sum(amounts) / sum(sizes) over documents, with a bound on each side.

    amounts, sizes: numbers of shape (documents,); sum(sizes) > 0. Each bound holds on its own with probability `confidence`.
    The upper bound is the least R for which documents refuse that sum(y) / sum(x) is R or more; that is, that y - R x is
    zero or more on average (Fieller 1954), so that documents of unequal length are dealt with as they are. The mean is held
    against Student's distribution with two corrections, both towards the safe side only. Skewed documents: Hall's monotone
    transformation (Journal of the Royal Statistical Society B 54, 1992). Documents of unequal spread: as many degrees of
    freedom as a variance from documents of that kurtosis is worth (Satterthwaite). The risk is taken a share
    2 / sqrt(documents) smaller, because both are estimated, too. `python -m bench.nights` measures that the stated
    confidence then holds, at 8 documents and risks of 1 in 10,000 as well. Four documents or fewer bound nothing.
    """
    y, x = np.asarray(amounts, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    documents, total = len(y), float(x.sum())
    value = float(y.sum()) / total
    residual = y - value * x
    spread = float(np.sqrt(residual @ residual * documents / max(documents - 1, 1))) / total
    low: float | None = None
    high: float | None = None
    risk = careful(1 - confidence, documents)
    if documents > 1 and spread <= 1e-12 * max(1.0, abs(value)):
        low = high = value
    elif risk > 0:
        low, high = _bound(y, x, value, -spread, risk), _bound(y, x, value, spread, risk)
    return Estimate(value=value, low=low, high=high, confidence=confidence, documents=documents)


def _bound(y: Array, x: Array, value: float, step: float, risk: float) -> float | None:
    """Return the bound above `value`, or below for a negative `step`; None when documents refuse nothing."""

    def refuse(steps: float) -> bool:
        excess = y - (value + steps * step) * x
        return bool(refused(excess if step > 0 else -excess, risk))

    near, reach = 0.0, 1.0
    while not refuse(reach):
        near, reach = reach, 2 * reach
        if reach > _WIDEST:
            return None
    while reach - near > 1e-6 * reach:
        middle = (near + reach) / 2
        near, reach = (near, middle) if refuse(middle) else (middle, reach)
    return value + reach * step


def refused(excess: Array, risk: float) -> NDArray[np.bool_]:
    """Whether documents refuse, at that risk, that they exceed zero or more on average; excess: (..., documents)."""
    documents, mean = excess.shape[-1], excess.mean(-1)
    around = excess - mean[..., None]
    squares = around * around
    variance = squares.mean(-1)
    certain = variance <= 0
    scale = np.where(certain, 1.0, variance)
    kurtosis = np.maximum((squares * squares).mean(-1) / scale**2 - 3, 0)
    skewness = np.maximum((squares * around).mean(-1) / scale**1.5, 1e-6) / sqrt(documents)
    quantile = stdtrit(2 / (2 / (documents - 1) + kurtosis / documents), risk)
    least = 3 / skewness * (np.cbrt(1 + skewness * (quantile - skewness / 6)) - 1)
    enough: NDArray[np.bool_] = np.where(certain, mean < 0, mean < least * np.sqrt(scale / (documents - 1)))
    return enough
