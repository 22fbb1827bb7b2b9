"""What the artifact does, held against what the original did: finite, no collapse into repetition, no context cliff."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gates.clients.client import Loaded
from gates.evaluation import probes
from gates.evidence import Check, Sample

MORE_REPETITION = 0.25
"""Share of token pairs by which drawn continuations may repeat themselves more than the original's."""
CLIFF = 0.5
"""Nats per token by which the last quarter of the long row may be hurt more than the first."""

Texts = tuple[tuple[int, ...], ...]


def finite(infinite: str | None) -> Check:
    """Whether every logit seen while scoring was a number; `infinite` names the first document where one was not."""
    detail = f"NaN or infinite logits on {infinite}" if infinite else "every logit is a number"
    return Check(name="finite", passed=infinite is None, detail=detail)


def generates(loaded: Loaded, asked: probes.Probes, tokenizer: Any) -> tuple[Check, tuple[Sample, ...]]:
    """Continue the baseline's prompts, greedily to show and drawn to judge how much both repeat themselves."""
    prompts = torch.tensor(asked.prompts)
    greedy = probes.continuations(loaded, prompts, sample=False)
    drawn = probes.continuations(loaded, prompts, sample=True)
    originals = asked.greedy or (None,) * len(greedy)
    samples = tuple(
        Sample(
            prompt=tokenizer.decode(prompt),
            original=None if original is None else tokenizer.decode(original),
            artifact=tokenizer.decode(own),
            tokens=0 if original is None else min(len(original) + 1, probes.NEW_TOKENS),
            same=0 if original is None else probes.alike(original, own),
        )
        for prompt, original, own in zip(asked.prompts, originals, greedy, strict=True)
    )
    silent = sum(not own for own in greedy) > asked.unanswered
    whose = "the original's" if asked.greedy else "the texts'"
    return collapse(drawn, asked.sampled, silent, whose), samples


def begins(loaded: Loaded, asked: probes.Probes) -> Check:
    """Ask a model that generates nothing (`Loaded.is_whole`) for the likeliest first token of every continuation alone."""
    silent = sum(first in loaded.ends for first in probes.firsts(loaded, torch.tensor(asked.prompts)))
    prompts = len(asked.prompts)
    detail = (
        f"read from its files, so that nothing is generated; ends {silent} of {prompts} prompts at once, the original "
    )
    return Check(name="generates", passed=silent <= asked.unanswered, detail=f"{detail}{asked.unanswered}")


def collapse(own: Texts, others: Texts, silent: bool, whose: str) -> Check:
    """Hold texts, as token ids, against others by how much they repeat themselves; silent: they are empty where these are not."""
    ours, theirs = probes.repetition(own), probes.repetition(others)
    detail = f"{ours:.0%} of token pairs are repeated, {whose} {theirs:.0%}"
    if silent:
        detail = "answers prompts with nothing where the original answers"
    return Check(name="generates", passed=not silent and ours <= theirs + MORE_REPETITION, detail=detail)


def context(loaded: Loaded, row: Tensor, original: Tensor) -> Check:
    """Read one long row and compare the damage in its last quarter with that in its first; one bad quarter is a cliff.

    row: int64 (tokens,); original: float32 (tokens - 1,), the original's loss on it.
    """
    change = (probes.losses(loaded, row).double() - original.double()).tensor_split(4)
    worse = max(float(part.mean()) for part in change[1:]) - float(change[0].mean())
    detail = f"over {len(row)} tokens, later quarters lose {worse:+.3f} nats per token more than the first"
    return Check(name="context", passed=worse <= CLIFF, detail=detail)
