"""How many documents to score before each judgement, and what a judgement may then risk. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from gates.statistics.estimate import Estimate, careful

FIRST = 8
LATER = 2.0
"""How much of the risk is kept for later looks; 1: each takes as much as the documents that it adds."""
HOPELESS = 0.1
"""Chance of passing in the end below which no more documents are scored."""
REJECTION = 0.05
"""One-sided risk at which a value beyond its limit is said to be so. It spends nothing of what a release may risk."""
POWER = 0.8
"""Of the smallest distance from the limit that documents are said to detect."""
_NORMAL = NormalDist()
_MOST = 10**9
"""Documents beyond which a value counts as lying on its limit."""


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
    1 - confidence is therefore divided among the looks: with a share s of all documents, s ** `LATER` of it is spent (the
    power family of Kim and DeMets 1987, in a Bonferroni form, which holds whatever the dependence between looks). So one look
    at everything spends it all, and few documents must be very clear. `bench/nights.py` compares this with betting.
    """
    before = taken[-2] if len(taken) > 1 else 0
    planned = (0, *interim_looks(available))
    risk = 1 - confidence
    return Look(
        confidence=1 - risk * (spent(taken[-1], available) - spent(before, available)),
        final=1 - risk * (1 - spent(planned[-2], available)),
        documents=taken[-1],
        available=available,
    )


def spent(documents: int, available: int) -> float:
    """Return the share of the risk that looks at up to so many documents spend."""
    return float((documents / available) ** LATER)


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
    detectable = (_NORMAL.inv_cdf(POWER) + _quantile(estimate.confidence, n)) * error
    return Outlook(passing, _deciding(abs(room), error * sqrt(n), 1 - sure), detectable)


def _deciding(room: float, spread: float, risk: float) -> int | None:
    """Return the least number of documents, of that standard deviation, whose bound at `risk` is within `room`."""

    def enough(documents: int) -> bool:
        return _quantile(1 - careful(risk, documents), documents) * spread <= room * sqrt(documents)

    few, many = 4, 5  # four bound nothing
    while not enough(many):
        few, many = many, 2 * many
        if many > _MOST:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many


def _quantile(confidence: float, documents: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(max(documents - 1, 1), confidence))
