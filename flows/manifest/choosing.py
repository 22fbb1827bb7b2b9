"""What a person chooses a recipe by: its size, its quality, what making it takes, and where it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from catalog import vllm
from catalog.dtypes import DTYPES
from catalog.engines import ENGINES
from catalog.formats import FORMATS
from quantizers.recipe import Recipe

Quality = Literal["near-lossless", "high", "good", "low", "poor"]
Making = Literal["fast", "medium", "slow"]

# Measured on the demo model, KL divergence in nats per token (`python -m bench.presets`): near-lossless below 0.001, high below
# 0.006, good below 0.02, low below 0.1. By bits, and whether rounding is compensated.
_QUALITY: dict[tuple[int, bool], Quality] = {
    (8, False): "near-lossless",
    (8, True): "near-lossless",
    (4, True): "high",
    (4, False): "good",
    (3, True): "good",
    (3, False): "low",
    (2, True): "low",
    (2, False): "poor",
}
_QUALITY_BY_CHANNEL: dict[tuple[int, bool], Quality] = {(4, True): "good", (4, False): "low"}
"""The same of engine streaming where a scale is shared by a whole channel. NNCF's own scales, which have the sign of the largest
weight and so reach one step farther, lose less there."""
_INPUTS = 4096
"""Inputs of a typical linear: what a scale for each output channel is shared by."""


@dataclass(frozen=True)
class Choice:
    """One recipe, as a person compares it with others."""

    bits_per_weight: float
    """Of a quantized linear, scales and zero points included."""
    quality: Quality
    making: Making
    """`fast` reads no text, `medium` runs text through the model once, `slow` trains scales or holds the whole model."""
    small_in_memory: bool
    """Whether its stock client keeps the weights packed: then it also runs faster; if not, it is small on disk alone."""
    devices: tuple[str, ...]
    vllm: str | None
    """Whether vLLM reads it, by its rules: `yes`, the version from which it does, or why not; None: of another format."""


def choice(recipe: Recipe) -> Choice:
    """Return what a recipe gives and takes."""
    format_ = FORMATS[recipe.format]
    slow = recipe.transform == "teq" or (recipe.calibrated and not ENGINES[recipe.engine].streams)
    return Choice(
        bits_per_weight(recipe),
        _quality(recipe),
        "slow" if slow else "medium" if recipe.calibrated else "fast",
        format_.small_in_memory,
        format_.devices,
        _vllm(recipe) if format_.vllm else None,
    )


def _vllm(recipe: Recipe) -> str:
    return vllm.refusal(recipe.bits, recipe.group_size) or vllm.since(recipe.symmetric) or "yes"


def _quality(recipe: Recipe) -> Quality:
    of = recipe.bits, recipe.rounding == "compensated"
    by_channel = recipe.group_size == -1 and ENGINES[recipe.engine].streams
    return _QUALITY_BY_CHANNEL.get(of, _QUALITY[of]) if by_channel else _QUALITY[of]


def bits_per_weight(recipe: Recipe, inputs: int = _INPUTS) -> float:
    """Return the bits that a weight of a linear with so many inputs takes, its share of scale and zero point included."""
    width = recipe.ratio * DTYPES[recipe.dtype].bits + (1 - recipe.ratio) * 8
    return width + FORMATS[recipe.format].group_bits(recipe.symmetric, recipe.bits) / (
        inputs if recipe.group_size == -1 else recipe.group_size
    )
