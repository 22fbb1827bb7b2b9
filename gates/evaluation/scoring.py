"""Log-probabilities at the positions of a row, and how far another model's are from them.

A position's whole distribution is kept as its `KEPT` largest log-probabilities, the exact mass P of the rest, and
`DRAWN` tokens drawn from the rest. With the rest lumped into one token the divergence would only be bounded from below
(log-sum inequality), which favours the artifact. With r = q / p, the sum over the rest of p log(p / q) equals
P x E[r - 1 - log r] plus P - Q, the difference of the masses, which is known exactly; what is left to the drawn tokens
is of second order in r - 1, never negative, and unbiased. `bench/gates_storage.py` measures 16 % too little for the
lumped form and under 0.2 % either way for this one, at 584 bytes per position.
"""

from __future__ import annotations

from typing import TypedDict, cast

import torch
from torch import Tensor

from gates.judging.gate import Positions

KEPT = 64
DRAWN = 8
POSITIONS = 64
"""Positions handled at once: bounds memory at POSITIONS x vocabulary float32 values."""


class Row(TypedDict):
    """What is stored of the original's distributions over classes, tokens mostly, at n positions of a row."""

    loss: Tensor
    """float32 (n,): negative log-likelihood of the target, in nats; 0 where nobody knows that."""
    kept_ids: Tensor
    """int32 (n, KEPT), most likely first."""
    kept: Tensor
    """float32 (n, KEPT): their log-probabilities."""
    rest: Tensor
    """float32 (n,): log of the probability of all others; -inf when there are none."""
    drawn_ids: Tensor
    """int32 (n, DRAWN): classes drawn from the rest in proportion to their probability; empty when there are none."""
    drawn: Tensor
    """float32 (n, DRAWN): their log-probabilities."""


def describe(logits: Tensor, targets: Tensor | None, seed: int) -> Row:
    """Reduce the original's logits, (n, classes), to what is stored.

    targets: int64 (n,); None where nobody knows what is true.
    """
    generator = torch.Generator().manual_seed(seed)
    known = torch.zeros(len(logits), dtype=torch.int64) if targets is None else targets
    parts = [
        _describe(chunk.float().log_softmax(-1), part, generator)
        for chunk, part in zip(torch.split(logits, POSITIONS), torch.split(known, POSITIONS), strict=True)
    ]
    joined = {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}
    if targets is None:
        joined["loss"].zero_()
    return cast(Row, joined)


def _describe(logprobs: Tensor, targets: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    kept, kept_ids = logprobs.topk(min(KEPT, logprobs.shape[-1]), sorted=True)
    others = logprobs.scatter(-1, kept_ids, -torch.inf)
    rest = others.logsumexp(-1)
    drawn_ids = kept_ids[:, :0]
    if logprobs.shape[-1] > KEPT:
        # Shifted by its maximum, so that a rest of 1e-30 is drawn from as well as one of 0.1.
        weights = (others - others.amax(-1, keepdim=True)).exp()
        drawn_ids = torch.multinomial(weights, DRAWN, replacement=True, generator=generator)
    return {
        "loss": -logprobs.gather(-1, targets[:, None]).squeeze(-1),
        "kept_ids": kept_ids.to(torch.int32),
        "kept": kept,
        "rest": rest,
        "drawn_ids": drawn_ids.to(torch.int32),
        "drawn": logprobs.gather(-1, drawn_ids),
    }


def compare(row: Row, logits: Tensor, targets: Tensor | None) -> Positions:
    """Compare an artifact's logits at a row's positions, (n, classes), with what is stored of the original's.

    Logits that are not finite give a loss and divergence of infinity or NaN here: the caller checks them first.
    """
    known = torch.zeros(len(logits), dtype=torch.int64) if targets is None else targets
    parts = []
    for start in range(0, len(logits), POSITIONS):
        span = slice(start, start + POSITIONS)
        part = {name: cast(Tensor, tensor)[span] for name, tensor in row.items()}
        parts.append(_compare(part, logits[span].float().log_softmax(-1), known[span]))
    first, loss, kld = (torch.cat(each) for each in zip(*parts, strict=True))
    return Positions(
        targets=targets,
        first_original=row["kept_ids"][:, 0].long(),
        first=first,
        loss_original=None if targets is None else row["loss"].double(),
        loss=None if targets is None else loss,
        kld=kld,
    )


def _compare(part: dict[str, Tensor], logprobs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the artifact's first choice, its loss and its divergence at each position."""
    kept_ids, drawn_ids = part["kept_ids"].long(), part["drawn_ids"].long()
    kept, rest = part["kept"].double(), part["rest"].double()
    kept_artifact = logprobs.gather(-1, kept_ids).double()
    kld = (kept.exp() * (kept - kept_artifact)).sum(-1)
    if drawn_ids.shape[-1]:
        log_ratio = logprobs.gather(-1, drawn_ids).double() - part["drawn"].double()
        kld += rest.exp() * (log_ratio.expm1() - log_ratio).mean(-1) + (kept_artifact.exp() - kept.exp()).sum(-1)
    loss = -logprobs.gather(-1, targets[:, None]).squeeze(-1).double()
    return logprobs.argmax(-1), loss, kld
