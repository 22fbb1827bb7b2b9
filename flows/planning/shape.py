"""What costs follow from in a model: figures of its tensors and configuration. No weight is read."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from flows.planning.sources import Original

_BLOCK = re.compile(r"(.*?\.\d+)\.")
EXPERT = re.compile(r"\.experts\.\d+\.")
"""In names of experts that transformers stacks."""
EXPERTS = re.compile(r"\.experts\.(gate_up|down)_proj$")
"""In names of those that are stored in stacks."""


@dataclass(frozen=True)
class Shape:
    """Figures of one model; all but `bytes` and `hidden` are counts of weights."""

    bytes: int
    """As stored."""
    elements: int
    read: int
    """What a token is multiplied with: no table that rows are looked up in, and of the experts those it is sent to."""
    blocks: tuple[int, ...]
    """Of each block."""
    run: int
    """Of all blocks together, what a token runs through."""
    largest: int
    """Of the largest tensor."""
    moments: int
    """Second moments of what the experts of a block read: each has one of its inputs, and one of what it makes of them."""
    hidden: int
    widest: int
    """Inputs of the widest linear of a block."""
    vocabulary: int


@lru_cache(maxsize=64)
def shape_of(original: Original) -> Shape:
    """Return the figures of a model."""
    blocks: Counter[str] = Counter()
    moments: dict[str, set[tuple[str, int]]] = {}
    widest = experts = looked_up = elements = largest = 0
    for name, tensor in original.tensors.items():
        count = tensor.elements
        elements, largest = elements + count, max(largest, count)
        if match := _BLOCK.match(name):
            blocks[match[1]] += count
            widest = max(widest, tensor.shape[1]) if len(tensor.shape) == 2 else widest
            if EXPERT.search(name):
                experts += count
                moments.setdefault(match[1], set()).add((name.rsplit(".", 2)[0], tensor.shape[1]))
        elif "embed" in name:
            looked_up += count
    # A head that has no tensor of its own shares the table's.
    tied = not any("head" in name for name in original.tensors)
    idle = experts * (1 - _sent_to(original))
    config = original.config
    return Shape(
        bytes=original.bytes,
        elements=elements,
        read=int(elements - idle - (0 if tied else looked_up)),
        blocks=tuple(blocks.values()),
        run=int(sum(blocks.values()) - idle),
        largest=largest,
        moments=max((sum(inputs**2 for _, inputs in read) for read in moments.values()), default=0),
        hidden=int(config.get("hidden_size") or config.get("n_embd") or config.get("d_model") or 1024),
        widest=widest,
        vocabulary=int(config.get("vocab_size") or 32000),
    )


def _sent_to(original: Original) -> float:
    """Share of the experts that a token is sent to."""
    count = original.config.get("num_experts") or original.config.get("num_local_experts")
    return int(original.config.get("num_experts_per_tok", 1)) / int(count) if count else 1.0
