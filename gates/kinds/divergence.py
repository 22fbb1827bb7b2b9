"""Gate `divergence`: how far the artifact's next-token distributions are from the original's, on average."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import Field

from gates.evidence import Document
from gates.judging.gate import Measures, Plot, Sums, TextGate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.measures import Measure
from gates.statistics.sequential import Look

KLD = Measure(lambda document: document.sums["kld"])
"""Nats per token."""
_WORDING = Wording(
    side="at most",
    words="KL divergence",
    number="{:.4g} nats",
    label="KL divergence, nats per token",
    figure="{:.5f}",
    column="KLD ≤",
    cell="{worst:.4f}",
)


class Divergence(TextGate):
    """Mean per-token KL divergence from the original on held-out text, in nats."""

    sums: ClassVar[Sums] = {"kld": lambda p: float(p.kld.sum())}
    measures: ClassVar[Measures] = {"kld": KLD}
    plot = Plot("Divergence per document", "KL divergence,\nnats per token", "kld", KLD.amount)

    max_kld: float = Field(0.05, gt=0)

    def over(self, name: str, documents: Sequence[Document], look: Look) -> Iterator[GateVerdict]:
        """Judge the mean over documents, each token counting once."""
        yield row(name, _WORDING, KLD.over(documents, look.confidence), self.max_kld, look)

    def drawn_limit(self) -> float | None:
        """Where the limit stands in the plot."""
        return self.max_kld
