"""Gate `overflow`: whether activations stay within fp16, which GPUs compute in."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from gates.evidence import FP16_MAX, Activations, Evidence
from gates.judging.gate import Gate
from gates.judging.judgement import Wording, shown
from gates.results import GateVerdict

_WORDING = Wording(
    side="at most",
    words=f"activations beyond {FP16_MAX:,}",
    number="{:,}",
    label=f"Activations beyond {FP16_MAX:,}, the largest number of fp16",
    figure="{:,}",
    column="beyond fp16",
    cell="{value:,}",
)


class Overflow(Gate):
    """Activations beyond 65504, the largest number of fp16, which GPUs compute in. On wherever a target says `device: GPU`."""

    max_values: int = Field(0, ge=0)
    """Values beyond it, over all layers and all text that was scored."""

    def judge(self, name: str, evidence: Evidence, confidence: float) -> Iterator[GateVerdict]:
        """Compare a count, which is of the text at hand."""
        seen, limit = evidence.activations, self.max_values
        beyond = None if seen is None else sum(seen.beyond.values())
        yield GateVerdict(
            name=name,
            outcome="passed" if beyond is not None and beyond <= limit else "failed",
            value=beyond,
            limit=limit,
            side=_WORDING.side,
            sentence=f"{_WORDING.words}: nothing was measured" if seen is None else f"{_told(seen)}, limit {limit:,}",
            shown=shown(_WORDING, beyond, beyond, limit),
        )


def _told(seen: Activations) -> str:
    size = "no finite number" if seen.largest is None else f"{seen.largest:,.0f}"
    largest = f"the largest activation is {size}, in {seen.layer}"
    if not seen.beyond:
        return f"{largest}, and fp16 ends at {FP16_MAX:,}"
    worst, count = max(seen.beyond.items(), key=lambda each: each[1])
    more = f" and {len(seen.beyond) - 1} more" if len(seen.beyond) > 1 else ""
    total = sum(seen.beyond.values())
    return f"{total:,} activations are beyond fp16's {FP16_MAX:,} ({count:,} in {worst}{more}; {largest})"
