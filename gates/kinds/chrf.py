"""Gate `chrf`: what is kept of the original's chrF, held against targets (Popović, 2015)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from gates.evidence import Document
from gates.judging.fraction import Fraction
from gates.judging.gate import Numbers, Sums, TextGate
from gates.judging.judgement import row
from gates.judging.kept import kept, wording
from gates.results import GateVerdict
from gates.statistics.sequential import Look

_WORDING = wording("chrF")


class Chrf(TextGate):
    """The artifact's chrF over the original's, of what both write for the same rows, each row's score counting once."""

    sums: ClassVar[Sums] = {
        "chrf_original": lambda p: getattr(p, "chrf_original", None),
        "chrf": lambda p: getattr(p, "chrf", None),
    }
    labelled = True
    numbers: ClassVar[Numbers] = {
        "chrf_original": lambda documents: _mean(documents, "chrf_original"),
        "chrf": lambda documents: _mean(documents, "chrf"),
    }

    min_recovery: Fraction = Field(0.98, gt=0)

    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge the recovery over rows, both models on the same ones."""
        yield row(name, _WORDING, kept(documents, "chrf_original", "chrf", look.confidence), self.min_recovery, look)


def _mean(documents: Sequence[Document], name: str) -> float:
    scores = [document.sums[name] for document in documents if name in document.sums]
    return sum(scores) / len(scores)
