"""Gate `size`: how small the weights became."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from gates.evidence import Evidence
from gates.judging.fraction import Fraction
from gates.judging.gate import Gate
from gates.judging.judgement import Wording, shown
from gates.results import GateVerdict

_WORDING = Wording(
    side="at most",
    words="weights",
    number="{:.1%}",
    label="Weights over the original's",
    figure="{:.1%}",
    column="size",
    cell="{value:.0%}",
)


class Size(Gate):
    """Bytes of weights over the original's."""

    max_ratio: Fraction = Field(0.75, gt=0)

    def judge(self, name: str, evidence: Evidence, confidence: float) -> Iterator[GateVerdict]:
        """Compare bytes, which are known exactly."""
        ratio, limit = evidence.size.ratio, self.max_ratio
        yield GateVerdict(
            name=name,
            outcome="passed" if ratio <= limit else "failed",
            value=ratio,
            limit=limit,
            side=_WORDING.side,
            sentence=f"weights are {ratio:.1%} of the original's bytes, limit {limit:.1%}",
            shown=shown(_WORDING, ratio, ratio, limit),
        )
