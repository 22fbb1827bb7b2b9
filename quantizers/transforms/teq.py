"""Trainable equivalent scales: TEQ, arXiv:2310.10944, one group of linears at a time.

The paper trains against the model's output. Here the loss is the output error of the linears that share the scale, the
same quadratic form in the second moment that the search uses, so that a step runs neither the model nor the block.
Rounding is passed straight through (arXiv:1308.3432).
"""

from __future__ import annotations

import torch
from torch import Tensor

from quantizers.dtypes import grouped
from quantizers.hardware.threads import pieces, side_by_side
from quantizers.transforms.awq import Attainable, Fake

ROWS = 512
"""Output rows that are trained on, evenly spaced."""
PART = 64
"""Of these, rows whose part of the loss and of its gradient are found together."""
STEPS = 150
"""Steps at the most."""
PATIENCE = 30
"""Steps without a better loss after which training stops."""
RATE = 0.01
"""Adam's rate for the logarithm of the scale, falling to zero along a cosine."""


def train(
    weight: Tensor, moment: Tensor, fake: Fake, attainable: Attainable, start: Tensor, group_size: int
) -> tuple[Tensor, float]:
    """Scale float32 `[in]` and its loss over that of `start`; at most 1, and exactly 1 when nothing better was found.

    Args:
        weight: float32 `[out, in]`, the stacked rows of all linears that share the input.
        moment: float32 `[in, in]`, the sum of outer products of the input.
        fake: what rounding does to the weight.
        attainable: what the network can absorb.
        start: the searched scale, float32 `[in]`.
        group_size: inputs that share a scale of the grid, or -1.
    """
    sample = weight[:: max(1, len(weight) // ROWS)]
    logs = start.log().requires_grad_()
    optimizer = torch.optim.Adam([logs], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    best, least, first, since = start, float("inf"), float("inf"), 0
    for step in range(STEPS):
        with torch.no_grad():
            logs.copy_(attainable(logs.exp()).log())
        value, gradient = _loss(sample, moment, fake, logs, group_size)
        if step == 0:
            first = value
        if value < least:
            best, least, since = logs.detach().exp(), value, 0
        elif (since := since + 1) > PATIENCE:
            break
        if not 0 < value < float("inf"):
            break
        logs.grad = gradient / first
        optimizer.step()
        schedule.step()
    return best, least / first if first else 1.0


def _loss(sample: Tensor, moment: Tensor, fake: Fake, logs: Tensor, group_size: int) -> tuple[float, Tensor]:
    """The loss, and its gradient to the logarithm of the scale, float32 `[in]`."""

    def part(rows: slice) -> tuple[float, Tensor]:
        own = logs.detach().requires_grad_()
        loss = _loss_of(sample[rows], moment, fake, own, group_size)
        return float(loss), torch.autograd.grad(loss, own)[0]

    parts = side_by_side(part, pieces(len(sample), PART))
    return sum(value for value, _ in parts), torch.stack([gradient for _, gradient in parts]).sum(0)


def _loss_of(sample: Tensor, moment: Tensor, fake: Fake, logs: Tensor, group_size: int) -> Tensor:
    # Straight through the rounding, an error is a constant number of steps, and a step follows the group's span.
    with torch.enable_grad():
        scale = logs.exp()
        scaled = sample * scale
        low, high = torch.aminmax(grouped(scaled, group_size), dim=-1, keepdim=True)
        span = high.clamp(min=0) - low.clamp(max=0)
        error = grouped(fake(scaled.detach()) - scaled.detach(), group_size)
        off = (error * (span / span.detach().clamp(min=1e-12))).flatten(1) / scale
        return ((off @ moment) * off).sum()
