"""Gate `generation`: how long the artifact, left to itself, says what the original says.

Scored text forgives: after every token both models go on from the same, true one. Left to itself a model goes on from what
it said, and one other token changes all that follows. What is measured is the first divergent token of greedy
continuations (Deiseroth and others, 2024; `FDT` of who-what-benchmark), as the rate at which tokens diverge that had not
yet: so continuations that never do within their length count for as long as they are, not as if they diverged at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from gates.evidence import Evidence, Sample
from gates.judging.gate import Gate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.estimate import Estimate
from gates.statistics.shares import share

_WORDING = Wording(
    side="at least",
    words="tokens of a greedy continuation until the first that differs",
    number="{:.1f}",
    label="Tokens until the first that differs, greedy",
    figure="{:.1f}",
    unit="continuations",
    column="FDT",
    cell="{value:.0f}",
)


class Generation(Gate):
    """Tokens that both models continue a prompt alike with, greedily, before the first that differs."""

    generates: ClassVar[bool] = True

    min_tokens: float = Field(gt=0)
    """On average over prompts."""

    def judge(self, name: str, evidence: Evidence, confidence: float) -> Iterator[GateVerdict]:
        """Judge the average over prompts."""
        yield row(name, _WORDING, alike(evidence.samples, confidence), self.min_tokens)


def alike(samples: Sequence[Sample], confidence: float) -> Estimate | None:
    """Estimate how many tokens continuations have in common before the first that differs; None without continuations.

    A bound of 0 on the rate of divergence bounds the tokens by nothing.
    """
    asked = [sample for sample in samples if sample.tokens]
    ended = [float(sample.same < sample.tokens) for sample in asked]
    exposed = [min(sample.same + 1, sample.tokens) for sample in asked]
    rate = share(ended, exposed, confidence)
    if rate is None:
        return None
    most = float(sum(exposed))
    low, high = (None if not bound else 1 / bound - 1 for bound in (rate.high, rate.low))
    value = 1 / rate.value - 1 if rate.value else most
    return Estimate(value=value, low=low, high=high, confidence=confidence, documents=rate.documents)
