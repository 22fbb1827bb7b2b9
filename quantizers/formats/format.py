"""What every format answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from quantizers.artifact.weights import Slot
from quantizers.dtypes import Codes
from quantizers.recipe import Recipe


class Format(Protocol):
    """How a quantized linear is laid out in safetensors, and what config.json says of it."""

    ROWS: int
    """Rows are packed a multiple of this many at a time."""

    def stored(self, dtype: torch.dtype) -> torch.dtype:
        """Dtype of a scale in an artifact whose other weights are `dtype`."""

    def slots(self, rows: int, columns: int, recipe: Recipe, dtype: torch.dtype) -> dict[str, Slot]:
        """Tensors that replace `weight` `[rows, columns]`, by their suffix to the linear's name."""

    def pack(self, q: Codes, recipe: Recipe, dtype: torch.dtype) -> dict[str, Tensor]:
        """Those tensors that follow the rows, for the rows in `q`; concatenated they fill their slots."""

    def constants(self, rows: int, columns: int, recipe: Recipe, dtype: torch.dtype) -> dict[str, Tensor]:
        """The remaining tensors, the same whatever the weights are."""

    def config(
        self, recipe: Recipe, linears: Mapping[str, Recipe], dtype: torch.dtype, kept: tuple[str, ...]
    ) -> dict[str, Any]:
        """`quantization_config` of config.json; `linears` have a recipe each, `kept` are left as they were."""
