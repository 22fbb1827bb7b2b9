"""Gate `speed`: how fast the artifact decodes beside the original."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from gates.evidence import Evidence
from gates.evidence import Speed as Seconds
from gates.judging.fraction import Fraction
from gates.judging.gate import Gate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.estimate import Estimate

_WORDING = Wording(
    side="at least",
    words="decoding speed over the original's",
    number="{:.2f}",
    label="Decoding speed over the original's",
    figure="{:.2f}",
    unit="turns",
    column="speed",
    cell="{value:.1f} ×",
    timed=True,
)


class Speed(Gate):
    """Decoded tokens per second over the original's, measured in one run on this machine."""

    min_ratio: Fraction | None = Field(1.0, gt=0)
    """Null: it is measured, and told by card and page, and not judged."""

    def judge(self, name: str, evidence: Evidence, confidence: float) -> Iterator[GateVerdict]:
        """Judge the ratio over turns taken alternately."""
        if self.min_ratio is None:
            return
        speedup = ratio(evidence.speed, confidence) if evidence.speed else None
        yield row(name, _WORDING, speedup, self.min_ratio)


def ratio(speed: Seconds, confidence: float) -> Estimate:
    """Estimate decoded tokens per second over the original's, from runs taken in turn."""
    from gates.statistics.intervals import estimate

    return estimate(speed.decode_seconds_original, speed.decode_seconds, confidence)
