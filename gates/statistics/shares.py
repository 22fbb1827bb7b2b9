"""Confidence bounds for the share of tokens that something happens to, where tokens of one document fare alike.

Shares are bounded as survey statistics does for clusters (Korn and Graubard, Survey Methodology 24, 1998): the exact
binomial bound of Clopper and Pearson, for as many independent tokens as vary as much as the documents do. So nothing seen
is not taken for proof that there is nothing. Imports nothing heavy until a share is estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gates.statistics.estimate import Estimate, careful

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def share(counts: Sequence[float], sizes: Sequence[int], confidence: float) -> Estimate | None:
    """Estimate the share of tokens that are counted, from counts and tokens of each document; None without any."""
    if not sizes:
        return None
    import numpy as np
    from scipy.special import betaincinv

    counted, tokens = np.array(counts, dtype=float), np.array(sizes, dtype=float)
    value = float(counted.sum() / tokens.sum())
    risk = careful(1 - confidence, len(tokens))
    low, high = None, None
    if risk > 0:
        alike = likeness(counted.sum(), counted @ counted, counted @ tokens, tokens)
        worth = independent(float(alike), tokens, risk)
        hits = value * worth
        low = float(betaincinv(hits, worth - hits + 1, risk)) if value > 0 else 0.0
        high = float(betaincinv(hits + 1, worth - hits, 1 - risk)) if value < 1 else 1.0
    return Estimate(value=value, low=low, high=high, confidence=confidence, documents=len(tokens))


def likeness(total: Any, squares: Any, products: Any, sizes: NDArray[np.float64]) -> Any:
    """Return how much more a share varies than if tokens were independent (the design effect), at least 1.

    total, squares, products: sums over documents of counts, of their squares, and of counts times tokens.
    """
    import numpy as np

    tokens, documents = sizes.sum(), len(sizes)
    value = total / tokens
    between = (squares - 2 * value * products + value**2 * (sizes @ sizes)) * documents / (documents - 1)
    within = value * (1 - value) * tokens
    return np.maximum(np.divide(between, within, out=np.ones_like(between), where=within > 0), 1)


def independent(alike: float, sizes: NDArray[np.float64], risk: float) -> float:
    """Return how many independent tokens tell as much, fewer for the documents' number being small."""
    from scipy.special import stdtrit

    tokens = float(sizes.sum())
    few = stdtrit(max(tokens - 1, 1), 1 - risk) / stdtrit(len(sizes) - 1, 1 - risk)
    return tokens / alike * float(few) ** 2
