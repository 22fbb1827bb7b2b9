"""Gate `ranking`: whether a cross-encoder puts rows in the same order as the original."""

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

ORDERED = Measure(lambda document: document.sums["ordered"], share=True)
_WORDING = Wording(
    side="at least",
    words="pairs in the original's order",
    number="{:.2%}",
    label="Pairs in the original's order",
    figure="{:.2%}",
    unit="rows",
    column="order ≥",
    cell="{worst:.1%}",
)


class Ranking(TextGate):
    """Share of pairs, a row and one of a collection, that artifact and original put in the same order."""

    sums: ClassVar[Sums] = {"ordered": lambda p: getattr(p, "ordered", None)}
    measures: ClassVar[Measures] = {"ordered": ORDERED}

    min_agreement: Fraction = Field(0.95, gt=0, le=1)

    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge the mean over rows."""
        ranked = [document for document in documents if "ordered" in document.sums]
        yield row(name, _WORDING, ORDERED.over(ranked, look.confidence), self.min_agreement, look)
