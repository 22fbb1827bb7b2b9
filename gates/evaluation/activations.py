"""How large activations become within a model, layer by layer, and how many are beyond what fp16 holds.

A layer is a module without modules of its own: what it is given and what it gives are looked at, so that the residual
stream is seen where norms read it, and the product of a gated MLP where the last linear does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import inf, isfinite, isnan
from typing import Any

import torch
from torch import Tensor

from gates.evidence import FP16_MAX, Activations


class Watch:
    """What was seen so far."""

    def __init__(self) -> None:
        self._largest: dict[str, float] = {}
        self._beyond: Counter[str] = Counter()
        self.real: Tensor | None = None
        """bool (rows, tokens): which tokens of a padded batch count; None: all."""
        self.shut = False
        """Whether what is run just now is none that it is about."""

    def see(self, layer: str, *tensors: Any) -> None:
        """Look at what a layer is given and gives: floating point of any shape; all else is passed over.

        A layer's count is that of the tensor with the most, since one value may pass through.
        """
        if self.shut:
            return
        most = 0
        for values in map(self._real, filter(_is_floating, tensors)):
            low, high = (float(end) for end in values.aminmax())
            largest = max(-low, high)
            # What is no number is beyond, too.
            if not largest <= FP16_MAX:
                most = max(most, int((~(values.abs() <= FP16_MAX)).sum()))
            self.add(layer, largest, 0)
        self.add(layer, 0.0, most)

    def add(self, layer: str, largest: float, beyond: int) -> None:
        """Count what one layer did with one row."""
        self._largest[layer] = max(inf if isnan(largest) else largest, self._largest.get(layer, 0.0))
        if beyond:
            self._beyond[layer] += beyond

    def _real(self, values: Tensor) -> Tensor:
        real = self.real
        if real is None or values.shape[: real.dim()] == real.shape:
            return values if real is None else values[real]
        return values[real.flatten()] if values.shape[:1] == (real.numel(),) else values

    def told(self, before: Activations | None = None) -> Activations | None:
        """Return it, together with what an earlier look has told; None: nothing was seen."""
        seen = list(self._largest.items())
        if before:
            seen.append((before.layer, inf if before.largest is None else before.largest))
        if not seen:
            return None
        layer, largest = max(seen, key=lambda each: each[1])
        beyond = self._beyond + Counter(before.beyond if before else {})
        return Activations(
            largest=largest if isfinite(largest) else None, layer=layer, beyond=dict(sorted(beyond.items()))
        )


def _is_floating(given: Any) -> bool:
    return isinstance(given, Tensor) and given.is_floating_point() and given.numel() > 0


@contextmanager
def hooked(model: torch.nn.Module) -> Iterator[Watch]:
    """Watch a model of torch."""
    watch = Watch()
    hooks = [
        module.register_forward_hook(partial(_look, watch, name))
        for name, module in model.named_modules()
        if not any(True for _ in module.children())
    ]
    try:
        yield watch
    finally:
        for hook in hooks:
            hook.remove()


def _look(watch: Watch, name: str, module: torch.nn.Module, given: tuple[Any, ...], made: Any) -> None:
    # Masks, which are as large as numbers go, are never the first.
    watch.see(name, *given[:1], made[0] if isinstance(made, tuple) else made)
