"""What a manifest may demand of an artifact: the table of gates. Imports neither torch nor numpy: planning reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel, ConfigDict, Field

from catalog.tasks import TASKS
from gates.judging.fraction import Fraction
from gates.judging.gate import Gate, MeasuredGate
from gates.kinds.acceptance import Acceptance
from gates.kinds.accuracy import Accuracy
from gates.kinds.agreement import Agreement
from gates.kinds.answers import Answers
from gates.kinds.chrf import Chrf
from gates.kinds.cosine import Cosine
from gates.kinds.divergence import Divergence
from gates.kinds.f1 import F1
from gates.kinds.generation import Generation
from gates.kinds.long_context import LongContext
from gates.kinds.neighbours import Neighbours
from gates.kinds.overflow import Overflow
from gates.kinds.perplexity import Perplexity
from gates.kinds.ranking import Ranking
from gates.kinds.similarity import Similarity
from gates.kinds.size import Size
from gates.kinds.speed import Speed
from gates.kinds.tail import Tail
from gates.kinds.tasks import Task
from gates.kinds.text_similarity import TextSimilarity
from gates.kinds.wer import Wer


class Gates(BaseModel):
    """All that must hold before a release. A gate that is absent is not judged; loading and generating always is."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    # One row a kind, in the order in which they are told; what stands here is all that the other packages read.
    divergence: Divergence | None = Divergence()
    perplexity: Perplexity | None = Perplexity()
    agreement: Agreement | None = None
    tail: Tail | None = None
    generation: Generation | None = None
    text_similarity: TextSimilarity | None = None
    long_context: LongContext | None = None
    accuracy: Accuracy | None = None
    f1: F1 | None = None
    answers: Answers | None = None
    chrf: Chrf | None = None
    wer: Wer | None = None
    ranking: Ranking | None = None
    cosine: Cosine | None = None
    neighbours: Neighbours | None = None
    similarity: Similarity | None = None
    tasks: dict[str, Task] = {}
    size: Size | None = Size()
    overflow: Overflow | None = None
    speed: Speed | None = None
    acceptance: Acceptance | None = None

    confidence: Fraction = Field(0.95, gt=0.5, lt=1)
    """One-sided confidence with which a tolerance must hold."""

    def of_task(self, task: str) -> Gates:
        """Return these gates with the task's own defaults where nothing is written."""
        unwritten = KINDS.keys() - self.model_fields_set - {"tasks"}
        defaults = TASKS[task].defaults
        chosen = {kind: KINDS[kind]() if kind in defaults else None for kind in sorted(unwritten)}
        # What stays unwritten is not set: a device may have a default of its own.
        return self.model_copy(update={kind: gate for kind, gate in chosen.items() if gate != getattr(self, kind)})

    def asked(self) -> Iterator[tuple[str, Gate]]:
        """Return the gates that are asked for, with their names, in order."""
        for kind in KINDS:
            chosen = getattr(self, kind)
            if isinstance(chosen, Gate):
                yield kind, chosen
            elif chosen:
                yield from ((f"{kind}.{name}", gate) for name, gate in chosen.items())

    def measured(self) -> dict[str, MeasuredGate]:
        """Return those of them that something is measured for, by name."""
        return {name: gate for name, gate in self.asked() if isinstance(gate, MeasuredGate)}


def _kind(annotation: object) -> type[Gate] | None:
    return next((each for each in get_args(annotation) if isinstance(each, type) and issubclass(each, Gate)), None)


KINDS: dict[str, type[Gate]] = {
    name: kind for name, field in Gates.model_fields.items() if (kind := _kind(field.annotation))
}
"""Every kind of gate by its key in a manifest."""


def kept(task: str) -> list[str]:
    """Return the names of what evidence keeps of every row of a task, asked for or not."""
    kinds = [KINDS[name] for name in TASKS[task].gates]
    return sorted(name for kind in kinds for name in (*kind.sums, *kind.tops))


def harm_gate(task: str) -> str:
    """Return the kind of gate that judges how far an artifact of a task is from its original."""
    return next(name for name, kind in KINDS.items() if kind.plot and kind.plot.measure == TASKS[task].harm)
