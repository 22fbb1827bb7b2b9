"""Gate `similarity`: whether what is more alike stays more alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from gates.evidence import Document
from gates.judging.gate import Measures, Sums, TextGate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.measures import Measure
from gates.statistics.sequential import Look

CORRELATION = Measure(lambda document: document.sums["correlation"])
_WORDING = Wording(
    side="at least",
    words="rank correlation of similarities",
    number="{:.4f}",
    label="Rank correlation of similarities",
    figure="{:.4f}",
    unit="rows",
    column="ρ ≥",
    cell="{worst:.4f}",
)


class Similarity(TextGate):
    """Spearman's correlation of a text's similarities to the rows of a collection, the artifact's with the original's."""

    sums: ClassVar[Sums] = {"correlation": lambda embedded: embedded.correlation}
    measures: ClassVar[Measures] = {"correlation": CORRELATION}

    min_correlation: float = Field(0.95, gt=0, lt=1)

    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge the mean over rows."""
        yield row(name, _WORDING, CORRELATION.over(documents, look.confidence), self.min_correlation, look)
