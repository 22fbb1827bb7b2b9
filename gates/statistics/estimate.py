"""A measured quantity with its bounds. Imports nothing heavy: planning reads the gates, which are judged by it."""

from __future__ import annotations

from math import sqrt

from pydantic import BaseModel, ConfigDict


class Estimate(BaseModel):
    """A quantity over documents, items or turns, with one-sided bounds on both sides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float | None
    """Lower bound at the one-sided `confidence`; None: the documents cannot bound it."""
    high: float | None
    """Upper bound at the one-sided `confidence`; None: the documents cannot bound it."""
    confidence: float
    documents: int


def careful(risk: float, documents: int) -> float:
    """Return the risk that a bound may take so as to hold at `risk` over so few documents; none when it is 0 or less."""
    return risk * (1 - 2 / sqrt(documents))
