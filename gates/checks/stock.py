"""The stock loader as judge of an artifact that it cannot hold whole: what it says with the first blocks is what is streamed."""

from __future__ import annotations

import torch
from torch import Tensor

from gates.clients.client import Beginning
from gates.evidence import Check

NAME = "stock"
ROUNDINGS = 1.0
"""Steps of the dtype, relative, that both may be apart by, root mean square. The same products are made of the same numbers:
those of the demo are equal to the last bit."""


def agrees(said: Beginning, loader: str) -> Check:
    """Hold what the stock loader says of some rows against what is streamed.

    Args:
        said: by both.
        loader: full name of the stock class.
    """
    if said.fault:
        return Check(name=NAME, passed=False, detail=f"{loader} {said.fault}")
    steps = max((_apart(*pair) for pair in zip(said.ours, said.theirs, strict=True)), default=0.0)
    alike = steps <= ROUNDINGS
    gives = f"{'gives' if alike else 'does not give'} the {said.what} that are streamed"
    return Check(
        name=NAME, passed=alike, detail=f"{loader} with {said.which} {gives}, {steps:.2g} steps of its dtype apart"
    )


def _apart(ours: Tensor, theirs: Tensor) -> float:
    """Root mean square of a difference over that of one row, in steps of the dtype; infinite where one is no number."""
    step = torch.finfo(theirs.dtype).eps
    ours, theirs = ours.float(), theirs.float()
    apart = (ours - theirs).norm() / theirs.norm().clamp_min(torch.finfo(torch.float32).tiny)
    return float(apart) / step if torch.isfinite(apart) else torch.inf
