"""Gate `f1`: what is kept of the original's F1, over entities of sentences or tokens of answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from gates.evidence import Document
from gates.judging.fraction import Fraction
from gates.judging.gate import Numbers, Sums, TextGate
from gates.judging.judgement import row
from gates.judging.kept import wording
from gates.results import GateVerdict
from gates.statistics.estimate import Estimate
from gates.statistics.sequential import Look

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PARTS = ("hits_original", "chosen_original", "hits", "chosen", "true")
_WORDING = wording("F1")


class F1(TextGate):
    """The artifact's F1 over the original's, each counting all rows together."""

    sums: ClassVar[Sums] = {
        "hits_original": lambda p: p.hits and float(p.hits.before),
        "chosen_original": lambda p: p.hits and float(p.hits.chosen_before),
        "hits": lambda p: p.hits and float(p.hits.after),
        "chosen": lambda p: p.hits and float(p.hits.chosen_after),
        "true": lambda p: p.hits and float(p.hits.true),
    }
    numbers: ClassVar[Numbers] = {
        "f1_original": lambda documents: float(_f1(*_summed(documents)[[0, 1, 4]])),
        "f1": lambda documents: float(_f1(*_summed(documents)[[2, 3, 4]])),
    }

    min_recovery: Fraction = Field(0.98, gt=0)

    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge the recovery over rows, both models on the same ones."""
        yield row(name, _WORDING, kept(documents, look.confidence), self.min_recovery, look)


def kept(documents: Sequence[Document], confidence: float) -> Estimate | None:
    """Estimate the artifact's F1 over the original's; None when nothing is labelled, or the original finds nothing.

    F1 is no mean of rows. Its pseudo-values, n times it less n - 1 times it without a row, are a sample of which it is the
    mean to first order (the jackknife: Tukey 1958), so they are bounded as means are.
    """
    labelled = [document for document in documents if "hits" in document.sums]
    if len(labelled) < 2:
        return None
    import numpy as np

    from gates.statistics.intervals import estimate

    rows = np.array([[document.sums[part] for part in _PARTS] for document in labelled])
    total = rows.sum(0)
    if total[0] <= 0:
        return None
    count = len(rows)
    pseudo = count * _ratio(total) - (count - 1) * _ratio(total - rows)
    bounds = estimate(pseudo, np.ones(count), confidence)
    # The mean of pseudo-values differs a little from what it stands for.
    shift = float(_ratio(total)) - bounds.value
    moved = {
        name: None if value is None else value + shift for name, value in (("low", bounds.low), ("high", bounds.high))
    }
    return bounds.model_copy(update={"value": float(_ratio(total)), **moved})


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    before, chosen_before, after, chosen_after, true = sums.T
    ratio: NDArray[np.float64] = _f1(after, chosen_after, true) / _f1(before, chosen_before, true)
    return ratio


def _f1(hits: Any, chosen: Any, true: Any) -> Any:
    """2 x hits over what was chosen and what is true."""
    return 2 * hits / (chosen + true)


def _summed(documents: Sequence[Document]) -> NDArray[np.float64]:
    import numpy as np

    return np.array([sum(document.sums[part] for document in documents) for part in _PARTS])
