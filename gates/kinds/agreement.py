"""Gate `agreement`: how often both models would say the same next token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from gates.evidence import Document
from gates.judging.fraction import Fraction
from gates.judging.gate import Measures, Sums, TextGate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.measures import Measure
from gates.statistics.sequential import Look

TOP1 = Measure(lambda document: document.sums["agree"], share=True)
"""Share of positions where both rank the same token first."""
_WORDING = Wording(
    side="at least",
    words="top-1 agreement",
    number="{:.2%}",
    label="Top-1 agreement",
    figure="{:.2%}",
    column="top-1",
    cell="{value:.1%}",
)


class Agreement(TextGate):
    """Share of positions where artifact and original rank the same token first."""

    sums: ClassVar[Sums] = {"agree": lambda p: float((p.first == p.first_original).sum())}
    measures: ClassVar[Measures] = {"agreement": TOP1}

    min_top1: Fraction = Field(0.9, gt=0, le=1)

    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge the share over documents, each token counting once."""
        yield row(name, _WORDING, TOP1.over(documents, look.confidence), self.min_top1, look)
