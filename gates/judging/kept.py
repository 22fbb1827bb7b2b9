"""What an artifact keeps of its original's score, over the same rows: shared by the gates that are about what is true."""

from __future__ import annotations

from collections.abc import Sequence

from gates.evidence import Document, TaskScores
from gates.judging.judgement import Wording
from gates.statistics.estimate import Estimate


def wording(label: str, within: str | None = None, column: str | None = None) -> Wording:
    """How a row reads about what is kept of a score of that name; what it is called within a sentence, and above a column."""
    return Wording(
        side="at least",
        words=f"{within or label} kept",
        number="{:.2%}",
        label=f"{label} kept",
        figure="{:.2%}",
        unit="rows",
        column=f"{column or label} kept ≥",
        cell="{worst:.1%}",
    )


def kept(documents: Sequence[Document], original: str, artifact: str, confidence: float) -> Estimate | None:
    """Estimate one sum over another, by their names; None where no row has them, or the original scores nothing."""
    scored = [document for document in documents if artifact in document.sums]
    if not scored:
        return None
    from gates.statistics.recovery import recovery

    before, after = (tuple(document.sums[name] for document in scored) for name in (original, artifact))
    scores = TaskScores(
        metric=artifact, configuration={}, original=before, artifact=after, identical=False, mcnemar_p=None
    )
    return recovery(scores, confidence)
