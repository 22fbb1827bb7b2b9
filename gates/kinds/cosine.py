"""Gate `cosine`: how far the artifact's embeddings point from the original's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from gates.evidence import Document
from gates.judging.gate import Measures, Plot, Sums, TextGate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.measures import Measure
from gates.statistics.sequential import Look

COSINE = Measure(lambda document: document.sums["cosine"])
DISTANCE = Measure(lambda document: document.tokens - document.sums["cosine"])
"""1 - cosine."""
_WORDING = Wording(
    side="at least",
    words="cosine to the original's embedding",
    number="{:.5f}",
    label="Cosine to the original's embedding",
    figure="{:.5f}",
    unit="rows",
    column="cos ≥",
    cell="{worst:.4f}",
)


class Cosine(TextGate):
    """Mean cosine of the artifact's embedding of a text and the original's."""

    sums: ClassVar[Sums] = {"cosine": lambda embedded: embedded.cosine}
    measures: ClassVar[Measures] = {"cosine": COSINE, "distance": DISTANCE}
    plot = Plot("Distance per row", "1 - cosine to the\noriginal's embedding", "distance", DISTANCE.amount)

    min_cosine: float = Field(0.99, gt=0, lt=1)

    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge the mean over rows."""
        yield row(name, _WORDING, COSINE.over(documents, look.confidence), self.min_cosine, look)

    def drawn_limit(self) -> float | None:
        """Where the limit stands in the plot."""
        return 1 - self.min_cosine
