"""Gate `chrf`: what is kept of the original's chrF, held against targets (Popović, 2015)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from gates.evidence import Document, TaskScores
from gates.judging.fraction import Fraction
from gates.judging.gate import Numbers, Sums, TextGate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.estimate import Estimate
from gates.statistics.sequential import Look
from gates.statistics.shares import share

PERFECT = 100.0
"""chrF of a text against itself."""
_WORDING = Wording(
    side="at least",
    words="chrF kept",
    number="{:.2%}",
    label="chrF kept",
    figure="{:.2%}",
    unit="rows",
    column="chrF kept ≥",
    cell="{worst:.1%}",
)


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
        yield row(name, _WORDING, kept(documents, look.confidence), self.min_recovery, look)


def kept(documents: Sequence[Document], confidence: float) -> Estimate | None:
    """Estimate the artifact's score over the original's; None where no row has a target, or the original scores nothing.

    That no row changed is no proof that none does: as many may as the exact binomial bound leaves, from everything to nothing.
    """
    scored = [document for document in documents if "chrf" in document.sums]
    if not scored:
        return None
    from gates.statistics.recovery import recovery

    before, after = (tuple(document.sums[name] for document in scored) for name in ("chrf_original", "chrf"))
    scores = TaskScores(
        metric="chrf", configuration={}, original=before, artifact=after, identical=False, mcnemar_p=None
    )
    estimated = recovery(scores, confidence)
    if estimated is None or before != after:
        return estimated
    changed = share([0.0] * len(scored), [1] * len(scored), confidence)
    if changed is None or changed.high is None:
        return estimated.model_copy(update={"low": None, "high": None})
    most = changed.high * PERFECT * len(before) / sum(before)
    return estimated.model_copy(update={"low": 1 - most, "high": 1 + most})


def _mean(documents: Sequence[Document], name: str) -> float:
    scores = [document.sums[name] for document in documents if name in document.sums]
    return sum(scores) / len(scores)
