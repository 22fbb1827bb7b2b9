"""How much of an original is held in memory while it is scored: all of it where it fits, else what there is room for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from catalog.tasks import TASKS
from flows.machine_memory import memory_bytes
from flows.manifest.model import Evaluation
from flows.planning.coefficients import DESCRIBED, MAPPED, ORIGINAL
from flows.planning.jobs import Job
from flows.planning.shape import Shape, shape_of
from flows.planning.text_size import size_of
from gates.evaluation.lengths import ABREAST_TOKENS, LONG_ROWS, STREAMED_TOKENS
from gates.judging.gate import Read

SCORED = 2048
"""Places of a long row whose logits are kept."""
SHARE = 0.75
"""Of the machine's memory, where a manifest gives none: the system and the run itself need some."""
FILLED = 0.85
"""Of the room that is left, how much is filled with weights: the heap is never without gaps, and filled to the last byte steps
took 3 to 7 % more than their budget."""


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


def read_besides(job: Job) -> tuple[Read, ...]:
    """Return the rows that are read for single gates besides those of evaluation."""
    shape, evaluation = shape_of(job.original), job.manifest.evaluation
    documents, tokens = size_of(evaluation, 1 << 30, None, shape.vocabulary)
    context = job.original.config.get("max_position_embeddings")
    gates = job.manifest.gates.measured().values()
    return tuple(read for gate in gates for read in gate.reads(context, documents * tokens))


def longest_row(job: Job, shape: Shape, width: int) -> int:
    """Return what the longest of them takes: what a block makes of it, in numbers of so many bytes, and some of its logits."""
    longest = max((read.tokens for read in read_besides(job)), default=0)
    return width * longest * (3 * shape.widest + 8 * shape.hidden) + 8 * min(longest, SCORED) * shape.vocabulary


def budget_of(job: Job) -> int:
    """Return how many bytes scoring may take."""
    return job.manifest.memory_bytes or int(SHARE * memory_bytes())


def held(job: Job) -> Held:
    """Return how much of a job's original stays in memory, and what that takes at the most."""
    shape, evaluation = scored_shape(job), job.manifest.evaluation
    budget = budget_of(job)
    # Weights as they are stored stay mapped while they are widened.
    whole = (
        ORIGINAL.process.memory_bytes
        + shape.bytes
        + 4 * shape.elements
        + max(ORIGINAL.long * LONG_ROWS * evaluation.tokens * shape.vocabulary, longest_row(job, shape, 4))
    )
    if whole <= budget:
        return Held(whole, None)
    least = _working(shape, evaluation) + longest_row(job, shape, 4)
    hold = int(FILLED * max(0, budget - least))
    return Held(least + min(hold, 4 * shape.elements), hold)


def _working(shape: Shape, evaluation: Evaluation) -> int:
    """A block, or a larger tensor, as it is stored and in float32; what it makes of a batch; and the logits."""
    tokens = max(STREAMED_TOKENS, LONG_ROWS * evaluation.tokens)
    weights = 6 * max(shape.largest, *shape.blocks, 0)
    made = 4 * tokens * (3 * shape.widest + 8 * shape.hidden) + 4 * ABREAST_TOKENS * shape.hidden
    mapped = min(shape.bytes, MAPPED)
    return ORIGINAL.process.memory_bytes + mapped + weights + made + DESCRIBED * tokens * shape.vocabulary
