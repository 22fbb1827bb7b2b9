"""What both models are asked besides scoring text: to continue prompts, and to read one long row.

The original's answers are stored with the baseline (`probes.json`, `long.safetensors`); an artifact's are held against
them, so that a small model's own habit of repeating itself is not blamed on its quantization.
"""

from __future__ import annotations

from itertools import pairwise, takewhile

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn.functional import cross_entropy

from gates.clients.client import Loaded
from gates.evaluation.lengths import LONG_ROWS

PROMPTS = 8
PROMPT_TOKENS = 24
NEW_TOKENS = 48
SEED = 7


class Probes(BaseModel):
    """Prompts and the original's continuations, as token ids."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: tuple[tuple[int, ...], ...]
    greedy: tuple[tuple[int, ...], ...] | None
    """None of an original that is read from its files: each token would read all of them."""
    sampled: tuple[tuple[int, ...], ...]
    """Drawn from the original; of one that is read from its files, what the documents go on with."""
    unanswered: int
    """Prompts that the original, asked for the likeliest token, ends at once."""


def ask(loaded: Loaded, rows: list[Tensor]) -> Probes:
    """Ask the original to continue the beginnings of documents, int64 (tokens,) each."""
    prompts = prompts_of(rows)
    asked = tuple(tuple(prompt) for prompt in prompts.tolist())
    if loaded.is_whole:
        greedy = continuations(loaded, prompts, sample=False)
        drawn = continuations(loaded, prompts, sample=True)
        return Probes(prompts=asked, greedy=greedy, sampled=drawn, unanswered=sum(not each for each in greedy))
    begun = [row for row in rows if tuple(row[:PROMPT_TOKENS].tolist()) in asked]
    texts = tuple(tuple(row[PROMPT_TOKENS : PROMPT_TOKENS + NEW_TOKENS].tolist()) for row in begun)
    unanswered = sum(first in loaded.ends for first in firsts(loaded, prompts))
    return Probes(prompts=asked, greedy=None, sampled=texts, unanswered=unanswered)


def firsts(loaded: Loaded, prompts: Tensor) -> list[int]:
    """Return the likeliest token after each prompt, int64 (prompts, tokens)."""
    return [int(loaded.logits(prompt)[-1].argmax()) for prompt in prompts]


def prompts_of(rows: list[Tensor]) -> Tensor:
    """Take the beginnings of the first documents long enough to prompt with, int64 (prompts, tokens)."""
    fit = [row for row in rows if len(row) >= PROMPT_TOKENS] or [max(rows, key=len)]
    return torch.stack([row[:PROMPT_TOKENS] for row in fit[:PROMPTS]])


def continuations(loaded: Loaded, prompts: Tensor, sample: bool) -> tuple[tuple[int, ...], ...]:
    """Continue every prompt by at most `NEW_TOKENS` tokens: the likeliest, or drawn at temperature 1, seeded.

    prompts: int64 (prompts, tokens). The token that ends a text is not part of what is returned.
    """
    return loaded.generate(prompts, NEW_TOKENS, seed=SEED if sample else None)


def repetition(texts: tuple[tuple[int, ...], ...]) -> float:
    """Return the share of token pairs that occurred before in the same continuation; 0 when there are none."""
    repeated = total = 0
    for text in texts:
        pairs = list(pairwise(text))
        total += len(pairs)
        repeated += len(pairs) - len(set(pairs))
    return repeated / total if total else 0.0


def alike(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Return how many tokens two continuations begin with alike; where both end there, their end is one more."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
    return same + (len(first) == len(second) == same and same < NEW_TOKENS)


def long_row(rows: list[Tensor], row_tokens: int, context: int) -> Tensor:
    """Join documents into one row of at most `LONG_ROWS` x `row_tokens` tokens, never beyond the model's context."""
    return torch.cat(rows)[: min(LONG_ROWS * row_tokens, context)]


def losses(loaded: Loaded, row: Tensor) -> Tensor:
    """Negative log-likelihood of each token of `row` but the first, float32 (tokens - 1,), in nats."""
    logits = loaded.logits(row)[:-1]
    parts = zip(torch.split(logits, 64), torch.split(row[1:], 64), strict=True)
    return torch.cat([cross_entropy(part.float(), target, reduction="none") for part, target in parts])
