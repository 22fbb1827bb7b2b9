"""Gate `perplexity`: how much worse the artifact predicts held-out text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, expm1, log1p
from typing import ClassVar

from pydantic import Field

from gates.evidence import Document
from gates.judging.fraction import Fraction
from gates.judging.gate import Measures, Numbers, Plot, Sums, TextGate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.measures import Measure
from gates.statistics.sequential import Look

_LARGEST = 700.0
"""Nats whose exponential is still a float."""


def _added(document: Document) -> float:
    return document.sums["loss"] - document.sums["loss_original"]


LOSS_CHANGE = Measure(_added)
"""Nats per token."""
INCREASE = Measure(_added, lambda change: expm1(min(change, _LARGEST)))
"""Relative."""
_WORDING = Wording(
    side="at most",
    words="perplexity change",
    number="{:+.2%}",
    label="Perplexity change",
    figure="{:+.2%}",
    column="perpl.",
    cell="{value:+.2%}",
)


def perplexity(documents: Sequence[Document], loss: str) -> float:
    """Return the perplexity over at least one document; loss: `loss`, or `loss_original` for the original's."""
    mean = sum(document.sums[loss] for document in documents) / sum(document.tokens for document in documents)
    return exp(min(mean, _LARGEST))


class Perplexity(TextGate):
    """Relative increase of perplexity over the original on held-out text."""

    sums: ClassVar[Sums] = {
        "loss_original": lambda p: float(p.loss_original.sum()),
        "loss": lambda p: float(p.loss.sum()),
    }
    labelled = True
    measures: ClassVar[Measures] = {"increase": INCREASE, "loss_change": LOSS_CHANGE}
    numbers: ClassVar[Numbers] = {
        "perplexity_original": lambda documents: perplexity(documents, "loss_original"),
        "perplexity": lambda documents: perplexity(documents, "loss"),
    }
    plot = Plot("Change of loss per document", "loss change,\nnats per token", "loss_change", _added)

    max_increase: Fraction = Field(0.03, gt=0)

    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge the increase over documents, each token counting once."""
        yield row(name, _WORDING, INCREASE.over(documents, look.confidence), self.max_increase, look)

    def drawn_limit(self) -> float | None:
        """Where the limit stands in the plot, as a change of loss."""
        return log1p(self.max_increase)
