"""How an artifact is scored in less memory than its stock loader takes: `judge: streamed` of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from catalog.formats import FORMATS
from flows.manifest.model import Rung
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
    width = _width(shape)
    # A block, or a larger tensor beside the original's.
    brought = max((UNPACKING.copies + width) * max(shape.blocks, default=0), 2 * width * shape.largest)
    least = _working(job, shape, brought)
    hold = min(int(FILLED * max(0, budget - least)), int(width * shape.elements))
    # Packed as they are read, and unpacked.
    block = (width + 1) * max(shape.blocks, default=1)
    around = _stock(shape)
    blocks = max(1, min(len(shape.blocks), int((budget - around) // block)))
    read = max(0, sum(shape.blocks) - hold * shape.elements // max(1, shape.bytes))
    return Streaming(max(least + hold, int(around + blocks * block)), hold, blocks, read / UNPACKING.rate)


def _packed(job: Job, rung: Rung, artifact_bytes: int) -> Streaming:
    """Of weights that stay packed, and that the stock loader's linears pack anew when they first multiply with them."""
    shape, budget = scored_shape(job), budget_of(job)
    inside = sum(shape.blocks)
    # What is beside blocks is stored as in the original.
    packed = max(0.5, (artifact_bytes - _width(shape) * (shape.elements - inside)) / max(1, inside))
    # As they are read, and packed anew.
    block = 2 * packed * max(shape.blocks, default=1)
    anew = PACKING.copies * min(shape.largest, shape.widest * shape.hidden)
    least = _working(job, shape, max(block + anew, _width(shape) * shape.largest))
    hold = min(int(FILLED * max(0, budget - least)), artifact_bytes)
    around = _stock(shape) + _mapped(shape) + anew
    blocks = max(1, min(len(shape.blocks), int((budget - around) // block)))
    read = max(0, inside - hold / packed)
    return Streaming(max(least + hold, int(around + blocks * block)), hold, blocks, read / PACKING.rate)


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


def _width(shape: Shape) -> float:
    """Bytes of a weight of the original."""
    return shape.bytes / max(1, shape.elements)


def _working(job: Job, shape: Shape, brought: float) -> int:
    """Bytes of weights that are brought at once, what a block makes of a batch, and the logits."""
    evaluation = job.manifest.evaluation
    tokens = max(STREAMED_TOKENS, LONG_ROWS * evaluation.tokens)
    made = 2 * tokens * (3 * shape.widest + 8 * shape.hidden) + 2 * ABREAST_TOKENS * shape.hidden
    described = DESCRIBED * tokens * shape.vocabulary
    return SCORING.memory_bytes + _mapped(shape) + int(brought) + made + described + longest_row(job, shape, 2)


def _mapped(shape: Shape) -> int:
    """Of both models' files."""
    return 2 * min(shape.bytes, MAPPED)


def _stock(shape: Shape) -> float:
    """What the stock loader holds beside blocks: tensors that are mapped, and logits of a few rows."""
    beside = _width(shape) * (shape.elements - sum(shape.blocks))
    return SCORING.memory_bytes + UNPACKING.beside * beside + 6 * STOCK_ROWS * STOCK_TOKENS * shape.vocabulary


_HOW: Mapping[str, Callable[[Job, Rung, int], Streaming]] = {
    "unpacked": _unpacked,
    "packed": _packed,
    "optimum_intel_parts": _parts,
}
"""By `catalog.format.Format.streamer`."""
