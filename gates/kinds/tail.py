"""Gate `tail`: the tokens that fare worst, which a mean over all of them hides.

Tokens of one document fare alike, so a bound that took them as independent would be too narrow. Shares of tokens are
therefore bounded as survey statistics does for clusters (Korn and Graubard, Survey Methodology 24, 1998): the exact
binomial bound of Clopper and Pearson, for as many independent tokens as vary as much as the documents do. The quantile
follows from the share of tokens above each value (Woodruff, Journal of the American Statistical Association 47, 1952).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from gates.evidence import Document
from gates.fraction import Fraction
from gates.gate import Positions, TextGate, Tops
from gates.judgement import Wording, row, shown
from gates.results import GateVerdict
from gates.statistics.estimate import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ABOVE = 0.001
"""Share of tokens above the 99.9 % quantile."""
KEPT, KEPT_SHARE = 16, 1 / 64
"""Largest divergences kept of a document: so many, or that share of its tokens if it is more."""
REACH = 2
"""How far into the tail the likeness within documents is looked for, in shares of `ABOVE`."""
TOP = "largest_kld"

_QUANTILE = Wording(
    side="at most",
    words="99.9 % quantile of the divergence per token",
    number="{:.4g} nats",
    label="KL divergence, 99.9 % quantile of tokens, nats",
    figure="{:.4f}",
    column="p99.9 ≤",
    cell="{worst:.3f}",
)
_TOKEN = Wording(
    side="at most",
    words="largest divergence of a token",
    number="{:.4g} nats",
    label="KL divergence, largest of a token, nats",
    figure="{:.4f}",
)
_FLIPS = Wording(
    side="at most",
    words="choices that turned right or wrong",
    number="{:.2%}",
    label="Choices that turned right or wrong",
    figure="{:.2%}",
)


def _largest(positions: Positions) -> list[float]:
    tokens = len(positions.kld)
    kept = min(tokens, max(KEPT, ceil(KEPT_SHARE * tokens)))
    # Rounding leaves divergences of identical models a little below zero.
    return [float(f"{value:.4g}") for value in positions.kld.clamp(min=0).topk(kept).values.tolist()]


class Tail(TextGate):
    """The tokens that fare worst on held-out text. What is not named is not judged."""

    tops: ClassVar[Tops] = {TOP: _largest}

    max_p999: float | None = Field(None, gt=0)
    """99.9 % quantile of the KL divergence per token, in nats: one token in a thousand may diverge more."""
    max_token: float | None = Field(None, gt=0)
    """Largest KL divergence of any token of the text, in nats; judged when all of the text is scored."""
    max_flips: Fraction | None = Field(None, gt=0, le=1)
    """Share of tokens that were predicted rightly and no longer are, or the other way around."""

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if self.max_p999 is self.max_token is self.max_flips is None:
            raise ValueError("asks for nothing: give at least one of max_p999, max_token and max_flips")
        return self

    def over(self, name: str, documents: Sequence[Document], confidence: float, last: bool) -> Iterator[GateVerdict]:
        """Judge quantile, largest and turned choices, whichever are asked for."""
        if self.max_p999 is not None:
            yield row(f"{name}.p999", _QUANTILE, quantile(documents, confidence), self.max_p999, last)
        if self.max_token is not None:
            yield _token(f"{name}.token", documents, confidence, self.max_token, last)
        if self.max_flips is not None:
            turned = [document.sums["lost"] + document.sums["gained"] for document in documents]
            yield row(f"{name}.flips", _FLIPS, rate(turned, documents, confidence), self.max_flips, last)


def _token(name: str, documents: Sequence[Document], confidence: float, limit: float, last: bool) -> GateVerdict:
    """Judge the largest divergence of the text at hand: while some of that is not scored, a larger one may come.

    No sample bounds the largest of other text; what it does bound is the share of tokens that diverge more.
    """
    if not documents:
        return row(name, _TOKEN, None, limit)
    tail = _tail(documents, confidence)
    value = float(tail.values[0])
    more = "any share" if tail.risk <= 0 else f"at most {100 * (1 - tail.risk ** (1 / tail.independent)):.2g}%"
    return GateVerdict(
        name=name,
        outcome="failed" if value > limit else "passed" if last else "undecided",
        value=value,
        interval=(value, value),
        confidence=confidence,
        limit=limit,
        side=_TOKEN.side,
        sentence=(
            f"{_TOKEN.words} {value:.4g} nats, {more} of all tokens above it at {confidence:.1%} confidence over "
            f"{len(documents)} documents, limit {limit:.4g} nats"
        ),
        shown=shown(_TOKEN, value, value, limit),
    )


def quantile(documents: Sequence[Document], confidence: float) -> Estimate | None:
    """Estimate what all but `ABOVE` of the tokens diverge by at most; None when there are no documents.

    A value bounds it from above when so few tokens lie above the value that, were it too low, fewer would be seen only
    once in 1 / (1 - confidence) times. Too few tokens to tell leave it unbounded: about 3,000 at 95 % if independent.
    """
    if not documents:
        return None
    import numpy as np
    from scipy.special import betainc

    tail = _tail(documents, confidence)
    count = len(tail.values)
    value = float(tail.values[min(int(ABOVE * tail.tokens), count - 1)])
    low, high = None, None
    if tail.risk > 0:
        # Of `independent` tokens, so many lie above each value, and at or above it.
        worth = tail.independent / tail.tokens
        above = np.searchsorted(-tail.values, -tail.values, side="left") * worth
        reached = np.searchsorted(-tail.values, -tail.values, side="right") * worth
        left = np.maximum(tail.independent - above, 1e-9)
        few = betainc(left, above + 1, 1 - ABOVE) <= tail.risk
        many = betainc(reached, np.maximum(tail.independent - reached + 1, 1e-9), ABOVE) <= tail.risk
        passing = count if few.all() else int(few.argmin())
        high = float(tail.values[passing - 1]) if passing else None
        low = float(tail.values[many.argmax()]) if many.any() else 0.0
    return Estimate(value=value, low=low, high=high, confidence=confidence, documents=len(documents))


def rate(counts: Sequence[float], documents: Sequence[Document], confidence: float) -> Estimate | None:
    """Estimate the share of tokens that something happens to, from its count in each document; None without any."""
    if not documents:
        return None
    import numpy as np
    from scipy.special import betaincinv

    events = np.array(counts, dtype=float)
    sizes = np.array([document.tokens for document in documents], dtype=float)
    value = float(events.sum() / sizes.sum())
    risk = _risk(len(sizes), confidence)
    low, high = None, None
    if risk > 0:
        likeness = _likeness(events.sum(), events @ events, events @ sizes, sizes)
        tokens = _independent(float(likeness), sizes, risk)
        hits = value * tokens
        low = float(betaincinv(hits, tokens - hits + 1, risk)) if value > 0 else 0.0
        high = float(betaincinv(hits + 1, tokens - hits, 1 - risk)) if value < 1 else 1.0
    return Estimate(value=value, low=low, high=high, confidence=confidence, documents=len(documents))


@dataclass(frozen=True)
class _Tail:
    """The largest divergences of all documents together."""

    values: NDArray[np.float64]
    """Descending, as far down as no document's are missing."""
    tokens: int
    independent: float
    """Independent tokens that would tell as much."""
    risk: float
    """That a bound may take; none when it is 0 or less."""


def _tail(documents: Sequence[Document], confidence: float) -> _Tail:
    import numpy as np

    tops = [np.array(document.tops[TOP]) for document in documents]
    sizes = np.array([document.tokens for document in documents], dtype=float)
    cut = [top[-1] for top, document in zip(tops, documents, strict=True) if len(top) < document.tokens]
    values = np.concatenate(tops)
    document_of = np.repeat(np.arange(len(tops)), [len(top) for top in tops])
    ranks = np.concatenate([np.arange(len(top)) for top in tops])
    order = np.argsort(-values, kind="stable")
    order = order[values[order] >= max(cut, default=-np.inf)]
    risk = _risk(len(sizes), confidence)
    independent = 0.0
    if risk > 0:
        # Counts per document, squared and times its size, added up as one token after another is counted.
        reach = order[: int(REACH * ABOVE * sizes.sum()) + 1]
        reach = reach[values[reach] > 0]
        counted = np.arange(1, len(reach) + 1)
        likeness = _likeness(counted, np.cumsum(2 * ranks[reach] + 1), np.cumsum(sizes[document_of[reach]]), sizes)
        independent = _independent(float(np.max(likeness, initial=1)), sizes, risk)
    return _Tail(values[order], int(sizes.sum()), independent, risk)


def _risk(documents: int, confidence: float) -> float:
    """Return the risk that a bound may take: a little less than it may, as in `gates.statistics.intervals`."""
    return (1 - confidence) * (1 - 2 / sqrt(documents))


def _likeness(total: Any, squares: Any, products: Any, sizes: NDArray[np.float64]) -> Any:
    """Return how much more a share varies than if tokens were independent (the design effect), at least 1.

    total, squares, products: sums over documents of counts, of their squares, and of counts times tokens.
    """
    import numpy as np

    tokens, documents = sizes.sum(), len(sizes)
    share = total / tokens
    between = (squares - 2 * share * products + share**2 * (sizes @ sizes)) * documents / (documents - 1)
    within = share * (1 - share) * tokens
    return np.maximum(np.divide(between, within, out=np.ones_like(between), where=within > 0), 1)


def _independent(likeness: float, sizes: NDArray[np.float64], risk: float) -> float:
    """Return how many independent tokens tell as much, fewer for the documents' number being small."""
    from scipy.special import stdtrit

    tokens = float(sizes.sum())
    few = stdtrit(max(tokens - 1, 1), 1 - risk) / stdtrit(len(sizes) - 1, 1 - risk)
    return tokens / likeness * float(few) ** 2
