"""Gate `acceptance`: which share of its draft's tokens an artifact accepts in speculative decoding.

A draft guesses some tokens, one after the other; the artifact reads them at once, and keeps those that it would have said
itself (Leviathan and others, 2023). The text is the artifact's own whatever the draft says: what is accepted decides what is
gained. It is counted by OpenVINO GenAI itself, greedily, on continuations of evaluation text: tokens accepted over tokens
drafted. After a token that is refused, what the draft said next is refused, too, as is what it says beyond the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field

from gates.evidence import Document, Evidence
from gates.judging.fraction import Fraction
from gates.judging.gate import Gate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.estimate import Estimate
from gates.statistics.shares import share

NAME = "acceptance"

_WORDING = Wording(
    side="at least",
    words="tokens of the draft that are accepted",
    number="{:.1%}",
    label="Tokens of its draft that it accepts",
    figure="{:.1%}",
    unit="continuations",
    column="draft ≥",
    cell="{worst:.0%}",
)


class Acceptance(Gate):
    """Tokens accepted over tokens drafted, of targets that have a draft."""

    min_rate: Fraction = Field(0.5, gt=0, le=1)
    """Over all continuations."""
    candidates: int = Field(4, ge=1, le=64)
    """Tokens that are drafted at a time, as the card's code has it."""

    def judge(self, name: str, evidence: Evidence, confidence: float) -> Iterator[GateVerdict]:
        """Judge the share over continuations."""
        yield row(name, _WORDING, accepted(evidence.measured.get(NAME, ()), confidence), self.min_rate)


def accepted(rows: Sequence[Document], confidence: float) -> Estimate | None:
    """Estimate which share of drafted tokens is accepted; None where none was drafted."""
    asked = [document for document in rows if document.tokens]
    counts = [document.sums["accepted"] for document in asked]
    return share(counts, [document.tokens for document in asked], confidence)
