"""Gate `accuracy`: what is kept of how often the original is right, where what is true is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from gates.evidence import Document, TaskScores
from gates.judging.fraction import Fraction
from gates.judging.gate import Measures, Sums, TextGate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.estimate import Estimate
from gates.statistics.measures import Measure
from gates.statistics.sequential import Look

BEFORE = Measure(lambda document: document.sums["right_original"], share=True)
AFTER = Measure(lambda document: document.sums["right"], share=True)
_WORDING = Wording(
    side="at least",
    words="accuracy kept",
    number="{:.2%}",
    label="Accuracy kept",
    figure="{:.2%}",
    unit="rows",
    column="acc. kept ≥",
    cell="{worst:.1%}",
)


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
        yield row(name, _WORDING, kept(documents, look.confidence), self.min_recovery, look)


def kept(documents: Sequence[Document], confidence: float) -> Estimate | None:
    """Estimate the artifact's score over the original's; None when nothing is labelled, or the original is never right."""
    labelled = [document for document in documents if "right" in document.sums]
    if not labelled:
        return None
    from gates.statistics.recovery import recovery

    before, after = (tuple(document.sums[name] for document in labelled) for name in ("right_original", "right"))
    scores = TaskScores(
        metric="accuracy", configuration={}, original=before, artifact=after, identical=False, mcnemar_p=None
    )
    return recovery(scores, confidence)
