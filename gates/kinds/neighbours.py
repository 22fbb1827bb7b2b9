"""Gate `neighbours`: how many of a text's ten nearest stay its nearest."""

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

OVERLAP = Measure(lambda document: document.sums["overlap"], share=True, worth=10)
_WORDING = Wording(
    side="at least",
    words="overlap of the ten nearest",
    number="{:.2%}",
    label="Overlap of the ten nearest",
    figure="{:.2%}",
    unit="rows",
    column="nearest ≥",
    cell="{worst:.1%}",
)


class Neighbours(TextGate):
    """Share of the ten rows of a collection nearest to a text, by the original's embeddings, that stay so by the artifact's."""

    sums: ClassVar[Sums] = {"overlap": lambda embedded: embedded.overlap}
    measures: ClassVar[Measures] = {"overlap": OVERLAP}

    min_overlap: Fraction = Field(0.9, gt=0, le=1)

    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge the mean over rows."""
        yield row(name, _WORDING, OVERLAP.over(documents, look.confidence), self.min_overlap, look)
