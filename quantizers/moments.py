"""Second moments of what linears read: all that the search, the ranges and the compensation know of the text."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from quantizers.activations import gram, mirror
from quantizers.families.family import Group
from quantizers.families.fold import in_features


class Moments:
    """Mean outer products of the input of one group's linears, float32 `[in, in]`.

    All linears of a group read one input, and one is watched. Experts each read the tokens that are routed to them:
    every one is watched, and `pooled` is the moment of all, each weighing as much as it read.
    """

    def __init__(self, block: nn.Module, group: Group) -> None:
        size = in_features(block, group)
        modules = {name for name, _ in block.named_modules()}
        linears = [name for name in group.linears if name in modules]
        self.watches = tuple(linears if group.experts else linears[:1])
        self.tokens = dict.fromkeys(self.watches, 0)
        """Tokens each watched linear read."""
        where = next(block.parameters()).device
        self.own = {name: torch.zeros(size, size, device=where) for name in self.watches}
        self.pooled = torch.zeros(0)

    def see(self, name: str, batch: Tensor) -> None:
        """Add a batch `[..., in]` that the linear `name` reads."""
        gram(self.own[name], batch)
        self.tokens[name] += math.prod(batch.shape[:-1])

    def finish(self) -> None:
        """Turn the sums into means, on the CPU."""
        self.own = {name: moment.cpu() for name, moment in self.own.items()}
        for moment in self.own.values():
            mirror(moment)
        if len(self.own) > 1:
            self.pooled = torch.stack([*self.own.values()]).sum(0) / max(1, sum(self.tokens.values()))
        for name, moment in self.own.items():
            moment /= max(1, self.tokens[name])
        if len(self.own) == 1:
            (self.pooled,) = self.own.values()

    def let_go(self) -> None:
        """Empty the moments."""
        for moment in (*self.own.values(), self.pooled):
            moment.set_()  # type: ignore[call-overload]

    def enough(self, name: str | None = None) -> bool:
        """Whether the tokens that `name` (None: any of the linears) read can span its input.

        Of fewer tokens than channels the moment has no full rank, and error feedback would push the rounding error
        into directions this text does not show. Any text of a dense block has enough.
        """
        read = sum(self.tokens.values()) if name is None else self.tokens[name]
        return read >= len(self.pooled)
