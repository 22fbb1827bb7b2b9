"""Activation-aware scales, searched: AWQ, arXiv:2306.00978, with every grid point a quadratic form in the moment.

The output error of a linear whose weights are off by E on inputs X is the trace of E H Eᵀ with H = XᵀX. H is summed
once, so no point of the search runs the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from quantizers.errors import QuantizeError
from quantizers.hardware.threads import side_by_side

COARSE = tuple(step / 5 for step in range(5))
"""Exponents of the activation's magnitude; 0 is the identity and comes first."""
FINE = (0.1, 0.05)
"""Steps to either side of the best so far: the error is smooth in the exponent."""
ROWS, WORK = 64, 1 << 29
"""Output rows that the search looks at, evenly spaced: the error of the rest follows theirs. More than `ROWS` as long as
rows times the square of the inputs stay below `WORK`."""

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
    sample = weight[:: max(1, len(weight) // max(ROWS, WORK // weight.shape[1] ** 2))]
    magnitude = moment.diagonal().clamp(min=1e-12).sqrt()
    errors: dict[float, float] = {}

    def scaled(exponent: float) -> Tensor:
        return attainable(normalized(magnitude**exponent))

    def error_of(exponent: float) -> float:
        scale = scaled(exponent)
        off = fake(sample * scale) / scale - sample
        error = float(((off @ moment) * off).sum())
        if not error < float("inf"):
            raise QuantizeError(
                f"The scale search met an error that is not finite (exponent {exponent}). The calibration text drives "
                "an activation out of range: use a recipe without transform, or a model that runs on this text."
            )
        return error

    def measure(exponents: Sequence[float]) -> None:
        errors.update(zip(exponents, side_by_side(error_of, exponents), strict=True))

    measure(COARSE)
    for step in FINE:
        middle = min(errors, key=errors.__getitem__)
        measure([exponent for exponent in (middle - step, middle + step) if exponent > 0])
    best = min(errors, key=errors.__getitem__)
    return scaled(best), best, errors[best] / errors[0.0] if errors[0.0] else 1.0


def normalized(scale: Tensor) -> Tensor:
    """The scale over the geometric mean of its extremes, held within `1e-4 … 1e4`: weights keep their magnitude."""
    return (scale / (scale.max() * scale.min()).sqrt()).clamp(1e-4, 1e4)
