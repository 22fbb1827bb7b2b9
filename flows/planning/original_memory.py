"""How much of an original is held in memory while it is scored: all of it where it fits, else what there is room for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from catalog.tasks import TASKS
from flows.machine_memory import memory_bytes
from flows.manifest.model import Evaluation
from flows.planning.coefficients import ORIGINAL
from flows.planning.jobs import Job
from flows.planning.shape import Shape, shape_of
from gates.evaluation.lengths import LONG_ROWS, STREAMED_TOKENS

SHARE = 0.75
"""Of the machine's memory, where a manifest gives none: the system and the run itself need some."""


@dataclass(frozen=True)
class Held:
    """What scoring an original takes."""

    memory_bytes: int
    hold_bytes: int | None
    """Of weights, in float32, that stay in memory; None: all."""


def scored_shape(job: Job) -> Shape:
    """Return the model as scoring sees it: what answers with no tokens has next to no logits."""
    shape = shape_of(job.original)
    return shape if TASKS[job.original.task].logits else replace(shape, vocabulary=1)


def held(job: Job) -> Held:
    """Return how much of a job's original stays in memory, and what that takes at the most."""
    shape, evaluation = scored_shape(job), job.manifest.evaluation
    budget = job.manifest.memory_bytes or int(SHARE * memory_bytes())
    # Weights as they are stored stay mapped while they are widened.
    whole = (
        ORIGINAL.process.memory_bytes
        + shape.bytes
        + 4 * shape.elements
        + ORIGINAL.long * LONG_ROWS * evaluation.tokens * shape.vocabulary
    )
    if whole <= budget:
        return Held(whole, None)
    least = _working(shape, evaluation)
    # All that is over what one of them takes once more stays mapped for a while.
    hold = max(0, budget - least)
    return Held(least + min(hold, 4 * shape.elements), hold)


def _working(shape: Shape, evaluation: Evaluation) -> int:
    """A block, or a larger tensor, as it is stored and in float32; what it makes of a batch; and the logits."""
    tokens = max(STREAMED_TOKENS, LONG_ROWS * evaluation.tokens)
    weights = 6 * max(shape.largest, *shape.blocks, 0)
    made = 4 * tokens * (3 * shape.widest + 8 * shape.hidden)
    return ORIGINAL.process.memory_bytes + weights + made + ORIGINAL.long * tokens * shape.vocabulary
