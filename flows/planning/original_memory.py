"""How much of an original is held in memory while it is scored: all of it where it fits, else what there is room for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from catalog.tasks import TASKS
from flows.machine_memory import memory_bytes
from flows.manifest.model import Evaluation
from flows.planning.jobs import Job
from flows.planning.shape import Shape, shape_of

BATCH_TOKENS = 1024
"""Tokens that are run at once where weights are read from their files (`gates.clients.streamed`)."""
LONG_ROWS = 4
"""Rows of text that are read as one (`gates.evaluation.probes`)."""
SHARE = 0.75
"""Of the machine's memory, where a manifest gives none: the system and the run itself need some."""
_LOGIT = 6
"""Bytes for each logit of the longest run."""
_IMPORTED = 565_000_000
"""Bytes that the process takes before it touches a weight."""


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
    whole = _IMPORTED + shape.bytes + 4 * shape.elements + _LOGIT * LONG_ROWS * evaluation.tokens * shape.vocabulary
    if whole <= budget:
        return Held(whole, None)
    least = _working(shape, evaluation)
    # All that is over what one of them takes once more stays mapped for a while.
    hold = max(0, budget - least)
    return Held(least + min(hold, 4 * shape.elements), hold)


def _working(shape: Shape, evaluation: Evaluation) -> int:
    """A block, or a larger tensor, as it is stored and in float32; what it makes of a batch; and the logits."""
    tokens = max(BATCH_TOKENS, LONG_ROWS * evaluation.tokens)
    weights = 6 * max(shape.largest, *shape.blocks, 0)
    made = 4 * tokens * (3 * shape.widest + 8 * shape.hidden)
    return _IMPORTED + weights + made + _LOGIT * tokens * shape.vocabulary
