"""How an artifact that its stock loader unpacks whole is scored in less memory: `judge: streamed` of a manifest."""

from __future__ import annotations

from dataclasses import dataclass

from flows.manifest.model import Evaluation
from flows.planning.coefficients import DESCRIBED, MAPPED, SCORING, UNPACKING
from flows.planning.jobs import Job
from flows.planning.original_memory import FILLED, budget_of, longest_row, scored_shape
from flows.planning.shape import Shape
from gates.evaluation.lengths import ABREAST_TOKENS, LONG_ROWS, STOCK_ROWS, STOCK_TOKENS, STREAMED_TOKENS


@dataclass(frozen=True)
class Streaming:
    """What that takes."""

    memory_bytes: int
    hold_bytes: int
    """Of unpacked weights that stay in memory."""
    stock_blocks: int
    """The first blocks that the stock loader can hold: all of them, where there is room."""


def streaming(job: Job) -> Streaming:
    """Return how the artifacts of a job are scored block by block; the stock loader holds one block at the least."""
    shape, budget = scored_shape(job), budget_of(job)
    width = shape.bytes / max(1, shape.elements)
    least = _working(shape, job.manifest.evaluation, width) + longest_row(job, shape, 2)
    hold = min(int(FILLED * max(0, budget - least)), int(width * shape.elements))
    # Packed as they are read, and unpacked.
    block = (width + 1) * max(shape.blocks, default=1)
    around = _stock(shape, width)
    blocks = max(1, min(len(shape.blocks), int((budget - around) // block)))
    return Streaming(max(least + hold, int(around + blocks * block)), hold, blocks)


def _working(shape: Shape, evaluation: Evaluation, width: float) -> int:
    """A block, packed and unpacked, or a larger tensor beside the original's; what a block makes of a batch; and the logits."""
    tokens = max(STREAMED_TOKENS, LONG_ROWS * evaluation.tokens)
    weights = max((UNPACKING.copies + width) * max(shape.blocks, default=0), 2 * width * shape.largest)
    made = 2 * tokens * (3 * shape.widest + 8 * shape.hidden) + 2 * ABREAST_TOKENS * shape.hidden
    # Of both models' files.
    mapped = 2 * min(shape.bytes, MAPPED)
    return SCORING.memory_bytes + mapped + int(weights) + made + DESCRIBED * tokens * shape.vocabulary


def _stock(shape: Shape, width: float) -> float:
    """What the stock loader holds beside blocks: tensors that are mapped, and logits of a few rows."""
    beside = shape.elements - sum(shape.blocks)
    return SCORING.memory_bytes + UNPACKING.beside * width * beside + 6 * STOCK_ROWS * STOCK_TOKENS * shape.vocabulary
