"""How many documents to score before each judgement, and what a judgement may then risk. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

from gates.statistics.estimate import Estimate

FIRST = 8
HOPELESS = 0.1
"""Chance of passing in the end below which no more documents are scored."""
REJECTION = 0.05
"""One-sided risk at which a value beyond its limit is said to be so. It spends nothing of what a release may risk."""
POWER = 0.8
"""Of the smallest distance from the limit that documents are said to detect."""
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Look:
    """One judgement of several: how many documents it is about, and how sure it must be."""

    confidence: float
    """One-sided, at this look."""
    final: float
    """The same at the last look, when all documents are scored."""
    documents: int
    available: int

    @property
    def last(self) -> bool:
        """Whether no more documents are at hand."""
        return self.documents >= self.available


def single(confidence: float, documents: int = 1) -> Look:
    """Return the look at what is measured once, as a whole."""
    return Look(confidence, confidence, documents, documents)


def interim_looks(available: int) -> tuple[int, ...]:
    """Return the numbers of documents at which to judge: 8, doubling, up to all `available`.

    The last step but one is left out when it would come within a factor 1.5 of the end.
    """
    sizes = [available]
    size = FIRST
    while size * 1.5 <= available:
        sizes.insert(-1, size)
        size *= 2
    return tuple(sizes)


def look_at(taken: tuple[int, ...], available: int, confidence: float) -> Look:
    """Return the last of the looks `taken`, which together are as sure as `confidence`, one-sided.

    Judging several times until it passes would wave a bad model through more often than once in twenty. The risk
    1 - confidence is therefore divided among the looks in proportion to the documents each adds (a Bonferroni form of
    alpha spending, Lan and DeMets 1983), which holds whatever the dependence between looks. One look at everything
    spends it all. `bench/nights.py` compares this with equal shares and with betting.
    """
    before = taken[-2] if len(taken) > 1 else 0
    planned = interim_looks(available)
    return Look(
        confidence=1 - (1 - confidence) * (taken[-1] - before) / available,
        final=1 - (1 - confidence) * (available - (planned[-2] if len(planned) > 1 else 0)) / available,
        documents=taken[-1],
        available=available,
    )


@dataclass(frozen=True)
class Outlook:
    """What the documents scored so far say about those that are not."""

    passing: float
    """Chance of passing when all documents are scored, if the rest fare like those seen (conditional power)."""
    deciding: int | None
    """Documents in all that would decide it, if the value stays; None: it lies on the limit."""
    detectable: float
    """Smallest distance from the limit that so many documents tell from none, four times in five."""


def outlook(estimate: Estimate, limit: float, sign: int, look: Look) -> Outlook | None:
    """Look ahead from an estimate that must stay below the limit, or above for `sign` -1; None when nothing bounds it.

    The standard error is what the bound implies, so it carries the corrections for few and skewed documents.
    """
    worst, best = (estimate.high, estimate.low) if sign > 0 else (estimate.low, estimate.high)
    width = sign * (worst - estimate.value) if worst is not None else None
    if width is None and best is not None:
        width = sign * (estimate.value - best)
    if width is None:
        return None
    n = estimate.documents
    error = width / _quantile(estimate.confidence, n)
    room = sign * (limit - estimate.value)
    if error <= 0:
        return Outlook(float(room >= 0), n, 0.0)
    every = max(look.available * n / look.documents, n)
    margin = _quantile(look.final, int(every)) * error * sqrt(n / every)
    unseen = error * sqrt(1 - n / every)
    passing = _NORMAL.cdf((room - margin) / unseen) if unseen > 0 else float(room >= margin)
    sure = look.final if room > 0 else 1 - REJECTION
    deciding = ceil(n * (_NORMAL.inv_cdf(sure) * error / room) ** 2) if room else None
    detectable = (_NORMAL.inv_cdf(POWER) + _quantile(estimate.confidence, n)) * error
    return Outlook(passing, deciding, detectable)


def _quantile(confidence: float, documents: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(max(documents - 1, 1), confidence))
