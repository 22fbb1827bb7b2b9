"""Quantities that are ratios of sums over documents. Imports nothing heavy until one is estimated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gates.evidence import Document
from gates.statistics.estimate import Estimate
from gates.statistics.shares import share


@dataclass(frozen=True)
class Measure:
    """One number per document, summed and divided by the summed tokens, then transformed by a rising function."""

    amount: Callable[[Document], float]
    transform: Callable[[float], float] = float
    share: bool = False
    """Whether the number counts tokens: then no document that differs proves that none does (`gates.statistics.shares`)."""
    worth: int = 1
    """Things that are counted at each token, which fare alike, where the number is their share."""

    def over(self, documents: Sequence[Document], confidence: float) -> Estimate | None:
        """Estimate it; None when there are no documents."""
        if not documents:
            return None
        amounts, sizes = [self.amount(d) for d in documents], [d.tokens for d in documents]
        if self.share:
            return share([self.worth * a for a in amounts], [self.worth * size for size in sizes], confidence)
        from gates.statistics.intervals import estimate

        measured = estimate(amounts, sizes, confidence)
        numbers = {"value": measured.value, "low": measured.low, "high": measured.high}
        return measured.model_copy(update={k: None if v is None else self.transform(v) for k, v in numbers.items()})
