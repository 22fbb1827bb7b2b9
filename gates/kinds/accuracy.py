"""Gate `accuracy`: what is kept of how often the original is right, where what is true is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from gates.evidence import Document
from gates.judging.fraction import Fraction
from gates.judging.gate import Measures, Sums, TextGate
from gates.judging.judgement import row
from gates.judging.kept import kept, wording
from gates.results import GateVerdict
from gates.statistics.measures import Measure
from gates.statistics.sequential import Look

BEFORE = Measure(lambda document: document.sums["right_original"], share=True)
AFTER = Measure(lambda document: document.sums["right"], share=True)
_WORDING = wording("Accuracy", "accuracy", "acc.")


class Accuracy(TextGate):
    """The artifact's accuracy over the original's on the same rows."""

    sums: ClassVar[Sums] = {
        "right_original": lambda p: float((p.first_original == p.targets).sum()),
        "right": lambda p: float((p.first == p.targets).sum()),
    }
    labelled = True
    measures: ClassVar[Measures] = {"accuracy_original": BEFORE, "accuracy": AFTER}

    min_recovery: Fraction = Field(0.98, gt=0)

    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge the recovery over rows, both models on the same ones."""
        yield row(name, _WORDING, kept(documents, "right_original", "right", look.confidence), self.min_recovery, look)
