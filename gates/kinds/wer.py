"""Gate `wer`: by how much more words are wrong than in the original's transcripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from gates.evidence import Document
from gates.judging.fraction import Fraction
from gates.judging.gate import Numbers, Sums, TextGate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.estimate import Estimate
from gates.statistics.sequential import Look
from gates.statistics.shares import share

_WORDING = Wording(
    side="at most",
    words="word error rate change",
    number="{:+.2%}",
    label="Word error rate change",
    figure="{:+.2%}",
    unit="rows",
    column="WER",
    cell="{value:+.2%}",
)


class Wer(TextGate):
    """The artifact's word error rate less the original's, of what both write for the same rows, each word counting once."""

    sums: ClassVar[Sums] = {
        "errors_original": lambda p: getattr(p, "errors_original", None),
        "errors": lambda p: getattr(p, "errors", None),
        "words": lambda p: getattr(p, "words", None),
    }
    labelled = True
    numbers: ClassVar[Numbers] = {
        "wer_original": lambda documents: _rate(documents, "errors_original"),
        "wer": lambda documents: _rate(documents, "errors"),
    }

    max_increase: Fraction = Field(0.01, gt=0)

    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge the increase over rows, both models on the same ones."""
        yield row(name, _WORDING, increase(documents, look.confidence), self.max_increase, look)


def increase(documents: Sequence[Document], confidence: float) -> Estimate | None:
    """Estimate wrong words over all words, the artifact's less the original's; None where no row has a word.

    That no row fares otherwise is no proof that none does: then as many words may as the exact binomial bound leaves.
    """
    rows = [document.sums for document in documents if "words" in document.sums]
    words = [sums["words"] for sums in rows]
    if not sum(words):
        return None
    changes = [sums["errors"] - sums["errors_original"] for sums in rows]
    if not any(changes):
        # A row is as good as one word here: words of one sound fare alike.
        nothing = share([0.0] * len(rows), [1] * len(rows), confidence)
        assert nothing
        most = nothing.high
        return nothing.model_copy(update={"low": None if most is None else -most})
    from gates.statistics.intervals import estimate

    return estimate(changes, words, confidence)


def _rate(documents: Sequence[Document], errors: str) -> float:
    scored = [document.sums for document in documents if "words" in document.sums]
    return sum(sums[errors] for sums in scored) / max(sum(sums["words"] for sums in scored), 1)
