"""What the code of a format answers: how it is laid out, or how it is made of a finished artifact of another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from quantizers.artifact.weights import Slot
from quantizers.dtypes import Codes
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.skeleton import Skeleton
from quantizers.recipe import Recipe
from quantizers.request import Made

if TYPE_CHECKING:
    from quantizers.artifact.target import Target


class Layout(Protocol):
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

    def stays(self, model: PreTrainedModel, names: tuple[str, ...]) -> frozenset[str]:
        """Those of the linears `names` that its stock loader never reads quantized: they are kept as they are."""

    def refuse(self, skeleton: Skeleton, names: tuple[str, ...]) -> None:
        """Refuse linears that the stock loader could not read back.

        Raises:
            QuantizeError: names them.
        """


class Exporter(Protocol):
    """How a format is made of a finished artifact of its `made_from` format."""

    def require(self, model: Path, skeleton: Skeleton) -> None:
        """Refuse, before any work, a model that cannot be written in this format.

        Raises:
            QuantizeError: says why, and which format takes the model.
        """

    def export(self, target: Target, made: Made, skeleton: Skeleton, checkpoint: Checkpoint, out: Path) -> Made:
        """Write the artifact of `target`, of which `made` tells, into `out`, with all that its loader reads."""
