"""Gate `answers`: how often both models answer with the same words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from gates.evidence import Document
from gates.judging.fraction import Fraction
from gates.judging.gate import Numbers, Sums, TextGate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.measures import Measure
from gates.statistics.sequential import Look


def _answered(document: Document) -> Document:
    """One answer a row, however many distributions that takes."""
    return document.model_copy(update={"tokens": 1})


SAME = Measure(lambda document: document.sums["same"], share=True)
_WORDING = Wording(
    side="at least",
    words="same answers",
    number="{:.2%}",
    label="Same answers as the original",
    figure="{:.2%}",
    unit="rows",
    column="same ≥",
    cell="{worst:.1%}",
)


class Answers(TextGate):
    """Share of rows that artifact and original answer alike, word for word."""

    sums: ClassVar[Sums] = {"same": lambda p: getattr(p, "same", None)}
    numbers: ClassVar[Numbers] = {
        "same": lambda documents: sum(document.sums["same"] for document in documents) / len(documents)
    }

    min_same: Fraction = Field(0.9, gt=0, le=1)

    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge the share over rows."""
        answered = [_answered(document) for document in documents if "same" in document.sums]
        yield row(name, _WORDING, SAME.over(answered, look.confidence), self.min_same, look)
