"""Gate `tail`: the tokens that fare worst, which a mean over all of them hides.

Shares of tokens are bounded for documents whose tokens fare alike (`gates.statistics.shares`). The quantile follows from
the share of tokens above each value (Woodruff, Journal of the American Statistical Association 47, 1952).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from gates.evidence import Document
from gates.judging.fraction import Fraction
from gates.judging.gate import Measures, Positions, Sums, TextGate, Tops
from gates.judging.judgement import Wording, row, shown
from gates.results import GateVerdict
from gates.statistics.estimate import Estimate, careful
from gates.statistics.measures import Measure
from gates.statistics.sequential import Look
from gates.statistics.shares import independent, likeness

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
FLIPS = Measure(lambda document: document.sums["lost"] + document.sums["gained"], share=True)
"""Share of positions that were right and are wrong, or were wrong and are right."""

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

    sums: ClassVar[Sums] = {
        "lost": lambda p: float(((p.first_original == p.targets) & (p.first != p.targets)).sum()),
        "gained": lambda p: float(((p.first_original != p.targets) & (p.first == p.targets)).sum()),
    }
    tops: ClassVar[Tops] = {TOP: _largest}
    labelled = True
    measures: ClassVar[Measures] = {"flips": FLIPS}

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

    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge quantile, largest and turned choices, whichever are asked for."""
        if self.max_p999 is not None:
            yield row(f"{name}.p999", _QUANTILE, quantile(documents, look.confidence), self.max_p999, look)
        if self.max_token is not None:
            yield _token(f"{name}.token", documents, self.max_token, look)
        if self.max_flips is not None:
            yield row(f"{name}.flips", _FLIPS, FLIPS.over(documents, look.confidence), self.max_flips, look)


def _token(name: str, documents: Sequence[Document], limit: float, look: Look) -> GateVerdict:
    """Judge the largest divergence of the text at hand: while some of that is not scored, a larger one may come.

    No sample bounds the largest of other text; what it does bound is the share of tokens that diverge more.
    """
    if not documents:
        return row(name, _TOKEN, None, limit, look)
    confidence = look.confidence
    tail = _tail(documents, confidence)
    value = float(tail.values[0])
    more = "any share" if tail.risk <= 0 else f"at most {100 * (1 - tail.risk ** (1 / tail.independent)):.2g}%"
    return GateVerdict(
        name=name,
        outcome="failed" if value > limit else "passed" if look.last else "undecided",
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
    risk = careful(1 - confidence, len(sizes))
    worth = 0.0
    if risk > 0:
        # Counts per document, squared and times its size, added up as one token after another is counted.
        reach = order[: int(REACH * ABOVE * sizes.sum()) + 1]
        reach = reach[values[reach] > 0]
        counted = np.arange(1, len(reach) + 1)
        alike = likeness(counted, np.cumsum(2 * ranks[reach] + 1), np.cumsum(sizes[document_of[reach]]), sizes)
        worth = independent(float(np.max(alike, initial=1)), sizes, risk)
    return _Tail(values[order], int(sizes.sum()), worth, risk)
