"""How an artifact is scored in less memory than its stock loader takes: `judge: streamed` of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from catalog.formats import FORMATS
from flows.manifest.model import Evaluation, Rung
from flows.planning.coefficients import ARTIFACTS, DESCRIBED, MAPPED, PACKING, SCORING, UNPACKING
from flows.planning.jobs import Job
from flows.planning.original_memory import FILLED, budget_of, longest_row, scored_shape
from flows.planning.shape import Shape
from gates.evaluation.lengths import ABREAST_TOKENS, LONG_ROWS, STOCK_ROWS, STOCK_TOKENS, STREAMED_TOKENS

PART_BYTES = 1 << 27
"""Of weights that a part of a graph has, if a block has less: smaller ones are cut out and compiled for nothing."""


@dataclass(frozen=True)
class Streaming:
    """What that takes."""

    memory_bytes: int
    hold_bytes: int
    """Of weights that stay in memory: unpacked, packed, or as they are stored in a part of a graph."""
    stock_blocks: int
    """The first blocks that the stock loader can hold: all of them, where there is room."""
    reading_seconds: float
    """For each reading of the weights that are not held."""


def streaming(job: Job, rung: Rung, artifact_bytes: int) -> Streaming:
    """Return how the artifact of a rung, of which so many bytes are predicted, is scored block by block."""
    streamer = FORMATS[rung.recipe.format].streamer
    assert streamer, f"{rung.recipe.format} is loaded whole"
    return _HOW[streamer](job, rung, artifact_bytes)


def _unpacked(job: Job, rung: Rung, artifact_bytes: int) -> Streaming:
    """Of weights that are unpacked; the stock loader holds one block at the least."""
    shape, budget = scored_shape(job), budget_of(job)
    width = shape.bytes / max(1, shape.elements)
    least = _working(shape, job.manifest.evaluation, width) + longest_row(job, shape, 2)
    hold = min(int(FILLED * max(0, budget - least)), int(width * shape.elements))
    # Packed as they are read, and unpacked.
    block = (width + 1) * max(shape.blocks, default=1)
    around = _stock(shape, width)
    blocks = max(1, min(len(shape.blocks), int((budget - around) // block)))
    read = max(0, sum(shape.blocks) - hold * shape.elements // max(1, shape.bytes))
    return Streaming(max(least + hold, int(around + blocks * block)), hold, blocks, read / UNPACKING.rate)


def _packed(job: Job, rung: Rung, artifact_bytes: int) -> Streaming:
    """Of weights that stay packed, and that the stock loader's linears pack anew when they first multiply with them."""
    shape, evaluation, scoring = scored_shape(job), job.manifest.evaluation, ARTIFACTS["transformers"]
    linear, beside = min(shape.largest, shape.widest * shape.hidden), shape.elements - sum(shape.blocks)
    width = max(0.5, (artifact_bytes - shape.bytes * beside / max(1, shape.elements)) / max(1, sum(shape.blocks)))
    # As it is read, and packed anew.
    block = 2 * width * max(shape.blocks, default=0)
    around = SCORING.memory_bytes + 2 * min(shape.bytes, MAPPED)
    tokens = max(STREAMED_TOKENS, LONG_ROWS * evaluation.tokens)
    made = 2 * tokens * (3 * shape.widest + 8 * shape.hidden) + 2 * ABREAST_TOKENS * shape.hidden
    run = block + PACKING.copies * linear + made + DESCRIBED * tokens * shape.vocabulary
    least = int(around + max(2 * shape.largest, scoring.compared * linear, run)) + longest_row(job, shape, 2)
    hold = min(int(FILLED * max(0, budget_of(job) - least)), artifact_bytes)
    stock = around + UNPACKING.beside * 2 * beside + PACKING.copies * linear
    stock += 6 * STOCK_ROWS * STOCK_TOKENS * shape.vocabulary
    blocks = max(1, min(len(shape.blocks), int((budget_of(job) - stock) // max(1, block))))
    read = max(0, sum(shape.blocks) - int(hold / width))
    return Streaming(max(least + hold, int(stock + blocks * block)), hold, blocks, read / PACKING.rate)


def _parts(job: Job, rung: Rung, artifact_bytes: int) -> Streaming:
    """Of a graph that is run a part at a time, by a runtime that keeps weights mapped and packs a copy of them."""
    shape, evaluation, scoring = scored_shape(job), job.manifest.evaluation, ARTIFACTS["optimum.intel"]
    block = artifact_bytes * max(shape.blocks, default=1) // max(1, shape.elements)
    head = (1 if rung.recipe.embeddings else 2) * shape.largest
    part = max(block, min(PART_BYTES, artifact_bytes))
    around = scoring.process.memory_bytes + min(shape.bytes, MAPPED)
    tokens = LONG_ROWS * evaluation.tokens
    made = 4 * tokens * (3 * shape.widest + 8 * shape.hidden) + 4 * ABREAST_TOKENS * shape.hidden
    compared = scoring.compared * min(shape.largest, scoring.at_once or shape.largest)
    logits = max(DESCRIBED * tokens * shape.vocabulary, longest_row(job, shape, 4))
    memory = around + max(compared, scoring.copies * max(part, head) + made + logits)
    room = budget_of(job) - around - 4 * STOCK_TOKENS * (3 * shape.widest + 8 * shape.hidden)
    blocks = max(1, min(len(shape.blocks), int(FILLED * room // (scoring.copies * block))))
    brought = scoring.block * len(shape.blocks)
    return Streaming(max(memory, around + scoring.copies * blocks * block), part, blocks, brought)


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


_HOW: Mapping[str, Callable[[Job, Rung, int], Streaming]] = {
    "unpacked": _unpacked,
    "packed": _packed,
    "optimum_intel_parts": _parts,
}
"""By `catalog.format.Format.streamer`."""
