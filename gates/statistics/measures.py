"""The quantities a gate judges, as ratios of sums over documents. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gates.evidence import CONFIDENCE, Document, Summary
from gates.statistics.intervals import Estimate, estimate


@dataclass(frozen=True)
class Measure:
    """One number per document, summed and divided by the summed tokens, then transformed by a rising function."""

    amount: Callable[[Document], float]
    transform: Callable[[float], float] = float


def _expm1(value: float) -> float:
    return float(np.expm1(min(value, 700.0)))


MEASURES: dict[str, Measure] = {
    "increase": Measure(lambda d: d.loss - d.loss_original, _expm1),
    "loss_change": Measure(lambda d: d.loss - d.loss_original),
    "kld": Measure(lambda d: d.kld),
    "agreement": Measure(lambda d: d.agree),
    "flips": Measure(lambda d: d.lost + d.gained),
}


def measure(name: str, documents: Sequence[Document], confidence: float) -> Estimate:
    """Estimate one of `MEASURES` over at least one document."""
    chosen = MEASURES[name]
    found = estimate(
        np.array([chosen.amount(d) for d in documents], dtype=np.float64),
        np.array([d.tokens for d in documents], dtype=np.float64),
        confidence,
    )
    numbers = {"value": found.value, "low": found.low, "high": found.high}
    return found.model_copy(update={k: None if v is None else chosen.transform(v) for k, v in numbers.items()})


def summarize(documents: Sequence[Document]) -> Summary | None:
    """Summarize scored documents; None when there are none."""
    if not documents:
        return None
    tokens = sum(d.tokens for d in documents)
    return Summary(
        tokens=tokens,
        perplexity_original=float(np.exp(sum(d.loss_original for d in documents) / tokens)),
        perplexity=float(np.exp(min(sum(d.loss for d in documents) / tokens, 700.0))),
        **{name: measure(name, documents, CONFIDENCE) for name in MEASURES},
    )
