"""Gate `long_context`: what the artifact keeps of long rows, where int4 has been seen to lose up to 59 % of recall at 64k tokens.

Rows are packed from evaluation text. In the manner of RULER's needles (Hsieh and others, 2024) facts are planted in them, evenly
spaced, and asked for in another order at the end: a fact is recalled when every token of its value is the likeliest. The text
between is scored by position, in octaves. Rows are independent; facts of one row fare alike (`gates.statistics.shares`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import expm1
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from gates.evidence import Document, Evidence
from gates.judging.fraction import Fraction
from gates.judging.gate import MeasuredGate, Read
from gates.judging.judgement import Wording, row
from gates.judging.worst import worst
from gates.results import GateVerdict
from gates.statistics.estimate import Estimate
from gates.statistics.shares import share

SHORTEST, STEP = 4096, 4
"""Length of the shortest rows unless a manifest says otherwise, and how many times as long the next are."""
BUDGET = 1 << 18
"""Tokens of the rows of one length that are read without being asked for in so many words."""
NAME = "long_context"

_RECALL = Wording(
    side="at least",
    words="facts still recalled",
    number="{:.1%}",
    label="Planted facts still recalled",
    figure="{:.1%}",
    unit="rows",
    column="recall ≥",
    cell="{worst:.0%}",
)
_LOSS = Wording(
    side="at most",
    words="perplexity change",
    number="{:+.2%}",
    label="Perplexity change by position",
    figure="{:+.2%}",
    unit="rows",
    column="long ≤",
    cell="{worst:+.1%}",
)


class LongRows(BaseModel):
    """Which rows both models read: part of the key of everything scored with them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    lengths: tuple[int, ...] | None = Field(None, min_length=1)
    """Tokens of a row. Default: 4,096, four times that and so on, and the length that the model was made for, as far as the
    rows of one length take no more than 262,144 tokens, nor more than the text has."""
    rows: int = Field(8, ge=5, le=1024)
    """Rows of each length."""
    facts: int = Field(24, ge=1, le=64)
    """Facts planted in each row."""

    def of(self, context: int | None, text: float) -> tuple[int, ...]:
        """Return the lengths for a model made for so many tokens, None where nothing bounds them, and a text of so many."""
        if self.lengths is not None:
            return tuple(sorted(set(self.lengths)))
        most = int(min(BUDGET, text)) // self.rows
        planned, length = [], SHORTEST
        while length <= min(most, context or most):
            planned.append(length)
            length *= STEP
        if context is not None and context <= most:
            planned.append(context)
        return tuple(sorted(set(planned)))


class LongRequest(LongRows):
    """What is asked of both models."""

    recall: bool = True
    """Whether an original that recalls none of the facts is refused: what is judged by recall needs one that does."""


class LongContext(LongRows, MeasuredGate):
    """Recall of planted facts and loss by position in long rows, the artifact's over the original's."""

    settings: ClassVar[type[BaseModel]] = LongRows
    packs = True

    min_recall: Fraction | None = Field(0.95, gt=0, le=1)
    """Of the facts that the original recalls, those that the artifact recalls, too, in rows of every length."""
    max_increase: Fraction | None = Field(0.05, gt=0)
    """Relative increase of perplexity in every octave of positions."""

    def configuration(self) -> dict[str, Any]:
        """Return the settings; that recall is not judged is told only where it is not, so that keys stay what they were."""
        return super().configuration() | ({} if self.min_recall is not None else {"recall": False})

    def reads(self, context: int | None, text: float) -> tuple[Read, ...]:
        """The rows of each length."""
        return tuple(Read(self.rows, length) for length in self.of(context, text))

    def judge(self, name: str, evidence: Evidence, confidence: float) -> Iterator[GateVerdict]:
        """Judge the length whose facts fare worst, and the octave whose text does; each may take the whole risk."""
        rows = evidence.measured.get(NAME, ())
        if self.min_recall is not None:
            lengths = sorted({document.sums["length"] for document in rows})
            alike = {f"in rows of {length:,.0f} tokens": _of_length(rows, length) for length in lengths}
            yield worst(
                [
                    (case, row(f"{name}.recall", _RECALL, recalled(own, confidence), self.min_recall))
                    for case, own in (alike or {"": []}).items()
                ],
                "lengths",
            )
        if self.max_increase is not None:
            octaves = sorted({int(key.split(".")[1]) for document in rows for key in document.sums if "places." in key})
            told = {f"at positions from {octave:,} on": octave for octave in octaves}
            yield worst(
                [
                    (case, row(f"{name}.loss", _LOSS, increase(rows, octave, confidence), self.max_increase))
                    for case, octave in (told or {"": 0}).items()
                ],
                "octaves",
            )


def _of_length(rows: Sequence[Document], length: float) -> list[Document]:
    return [document for document in rows if document.sums["length"] == length]


def recalled(rows: Sequence[Document], confidence: float) -> Estimate | None:
    """Estimate which share of the facts that the original recalls the artifact does; None where the original recalls none.

    A fact that the artifact alone recalls makes up for none that is lost.
    """
    asked = [document for document in rows if document.sums["recalled_original"]]
    lost = [document.sums["lost"] for document in asked]
    rate = share(lost, [int(document.sums["recalled_original"]) for document in asked], confidence)
    if rate is None:
        return None
    low, high = (None if bound is None else 1 - bound for bound in (rate.high, rate.low))
    return rate.model_copy(update={"value": 1 - rate.value, "low": low, "high": high})


def increase(rows: Sequence[Document], octave: int, confidence: float) -> Estimate | None:
    """Estimate the relative increase of perplexity at the scored positions of an octave."""
    scored = [document for document in rows if document.sums.get(f"places.{octave}")]
    if not scored:
        return None
    from gates.statistics.intervals import estimate

    added = [document.sums[f"loss.{octave}"] - document.sums[f"loss_original.{octave}"] for document in scored]
    change = estimate(added, [document.sums[f"places.{octave}"] for document in scored], confidence)
    numbers = {"value": change.value, "low": change.low, "high": change.high}
    return change.model_copy(update={name: None if n is None else expm1(min(n, 700.0)) for name, n in numbers.items()})
