"""Activation-aware scales, searched: AWQ, arXiv:2306.00978, with every grid point a quadratic form in the moment.

The output error of a linear whose weights are off by E on inputs X is the trace of E H Eᵀ with H = XᵀX. H is summed
once, so no point of the search runs the model.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from quantizers.errors import QuantizeError

GRID = tuple(step / 20 for step in range(20))
"""Exponents of the activation's magnitude; 0 is the identity and comes first."""
ROWS = 128
"""Output rows that the search looks at, evenly spaced: the error of the rest follows theirs."""

Fake = Callable[[Tensor], Tensor]
"""Quantize and dequantize a float32 `[rows, in]` matrix."""
Attainable = Callable[[Tensor], Tensor]
"""The scale nearest to a float32 `[in]` one that the network can absorb."""


def search(weight: Tensor, moment: Tensor, fake: Fake, attainable: Attainable) -> tuple[Tensor, float, float]:
    """Scale float32 `[in]` of least output error, its exponent, and its error over that of the identity.

    Args:
        weight: float32 `[out, in]`, the stacked rows of all linears that share the input.
        moment: float32 `[in, in]`, the sum of outer products of the input.
        fake: what rounding does to the weight.
        attainable: what the network can absorb.

    Raises:
        QuantizeError: the error of a grid point is not finite.
    """
    sample = weight[:: max(1, len(weight) // ROWS)]
    magnitude = moment.diagonal().clamp(min=1e-12).sqrt()
    best, exponent, least, first = torch.ones(weight.shape[1]), 0.0, float("inf"), float("inf")
    for alpha in GRID:
        scale = attainable(normalized(magnitude**alpha))
        off = fake(sample * scale) / scale - sample
        error = float(((off @ moment) * off).sum())
        if not error < float("inf"):
            raise QuantizeError(
                f"The scale search met an error that is not finite (exponent {alpha}). The calibration text drives an "
                "activation out of range: use a recipe without transform, or a model that runs on this text."
            )
        if alpha == 0:
            first = error
        if error < least:
            best, exponent, least = scale, alpha, error
    return best, exponent, least / first if first else 1.0


def normalized(scale: Tensor) -> Tensor:
    """The scale over the geometric mean of its extremes, held within `1e-4 … 1e4`: weights keep their magnitude."""
    return (scale / (scale.max() * scale.min()).sqrt()).clamp(1e-4, 1e4)
