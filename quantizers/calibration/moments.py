"""Second moments of what linears read: all that the search, the ranges and the compensation know of the text."""

from __future__ import annotations

import math
from collections.abc import Container

import torch
from torch import Tensor, nn

from quantizers.calibration.activations import gram, mirror
from quantizers.families.family import Group
from quantizers.transforms.fold import in_features


class Moments:
    """Mean outer products of the input of one group's linears, float32 `[in, in]`.

    All linears of a group read one input, and one is watched. Experts each read the tokens that are routed to them:
    one linear of each is watched, and `pooled` is the moment of all, each weighing as much as it read.
    """

    def __init__(self, block: nn.Module, group: Group, quantized: Container[str], scarce: bool = False) -> None:
        """Of the linears of `group` that are `quantized`, by their names in the block; `scarce`: rows may hold few tokens."""
        self.size = in_features(block, group)
        self.scarce = scarce or group.experts
        """Whether too little may have been read to round by it, so that it is to be asked (`enough`)."""
        self._experts = group.experts
        readers: dict[str, str] = {}
        for name in group.linears:
            if name in quantized:
                readers.setdefault(self.reader(name), name)
        self.watches = tuple(readers.values())
        """A linear for each reader."""
        self.tokens = dict.fromkeys(readers, 0)
        """Tokens each reader read."""
        where = next(block.parameters()).device
        self.own = {reader: torch.zeros(self.size, self.size, device=where) for reader in readers}
        self.pooled = torch.zeros(0)

    def reader(self, linear: str) -> str:
        """Who reads the input of a linear: its module, if the group's are experts, else the group."""
        return linear.rpartition(".")[0] if self._experts else ""

    def see(self, linear: str, batch: Tensor) -> None:
        """Add a batch `[..., in]` that `linear` reads."""
        reader = self.reader(linear)
        gram(self.own[reader], batch)
        self.tokens[reader] += math.prod(batch.shape[:-1])

    def finish(self) -> None:
        """Turn the sums into means, on the CPU."""
        self.own = {reader: moment.cpu() for reader, moment in self.own.items()}
        for moment in self.own.values():
            mirror(moment)
        if len(self.own) > 1:
            self.pooled = torch.zeros(self.size, self.size)
            for moment in self.own.values():
                self.pooled += moment
            self.pooled /= max(1, sum(self.tokens.values()))
        for reader, moment in self.own.items():
            moment /= max(1, self.tokens[reader])
        if len(self.own) == 1:
            (self.pooled,) = self.own.values()

    def let_go(self) -> None:
        """Empty the moments."""
        for moment in (*self.own.values(), self.pooled):
            moment.set_()  # type: ignore[call-overload]

    def enough(self, reader: str | None = None) -> bool:
        """Whether the tokens that `reader` (None: any of them) read can span its input.

        Of fewer tokens than channels the moment has no full rank, and error feedback would push the rounding error
        into directions this text does not show. Any text of a dense block has enough.
        """
        read = sum(self.tokens.values()) if reader is None else self.tokens[reader]
        return read >= self.size
