"""What a manifest may demand of an artifact: the table of gates. Imports neither torch nor numpy: planning reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel, ConfigDict, Field

from gates.fraction import Fraction
from gates.gate import Gate
from gates.kinds.agreement import Agreement
from gates.kinds.divergence import Divergence
from gates.kinds.generation import Generation
from gates.kinds.perplexity import Perplexity
from gates.kinds.size import Size
from gates.kinds.speed import Speed
from gates.kinds.tail import Tail
from gates.kinds.tasks import Task


class Gates(BaseModel):
    """All that must hold before a release. A gate that is absent is not judged; loading and generating always is."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    # One row a kind, in the order in which they are told; what stands here is all that the other packages read.
    divergence: Divergence | None = Divergence()
    perplexity: Perplexity | None = Perplexity()
    agreement: Agreement | None = None
    tail: Tail | None = None
    generation: Generation | None = None
    tasks: dict[str, Task] = {}
    size: Size | None = Size()
    speed: Speed | None = None

    confidence: Fraction = Field(0.95, gt=0.5, lt=1)
    """One-sided confidence with which a tolerance must hold."""

    def asked(self) -> Iterator[tuple[str, Gate]]:
        """Return the gates that are asked for, with their names, in order."""
        for kind in KINDS:
            chosen = getattr(self, kind)
            if isinstance(chosen, Gate):
                yield kind, chosen
            elif chosen:
                yield from ((f"{kind}.{name}", gate) for name, gate in chosen.items())


def _kind(annotation: object) -> type[Gate] | None:
    return next((each for each in get_args(annotation) if isinstance(each, type) and issubclass(each, Gate)), None)


KINDS: dict[str, type[Gate]] = {
    name: kind for name, field in Gates.model_fields.items() if (kind := _kind(field.annotation))
}
"""Every kind of gate by its key in a manifest."""
SUMS = {name: amount for kind in KINDS.values() for name, amount in kind.sums.items()}
TOPS = {name: amount for kind in KINDS.values() for name, amount in kind.tops.items()}
"""What evidence keeps of every document."""
