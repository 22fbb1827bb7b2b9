"""What engine nncf offers beside the fields that all engines have: NNCF's own choices, by NNCF's own names.

Imports neither torch nor NNCF: planning reads this module. `tests/quantizers/engines` holds the names against NNCF's.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Sensitivity = Literal[
    "weight_quantization_error",
    "hessian_input_activation",
    "mean_activation_variance",
    "max_activation_variance",
    "mean_activation_magnitude",
]
Backup = Literal["int8_asym", "int8_sym", "none"]
Fallback = Literal["error", "ignore", "adjust"]
ADJUSTED = 32
"""Weights per scale that `adjust` goes down to at the least; a linear that these do not divide is stored as `backup` says."""


class NncfOptions(BaseModel):
    """Choices of NNCF's weight compression (`nncf.compress_weights`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    lora_rank: int | None = Field(None, ge=1)
    """Rank of the adapters that take back some of the error (LoRA correction), stored in int8 beside the weights; null: none.
    Dtypes int4 and nf4, and not with compensated rounding."""
    sensitivity: Sensitivity | None = None
    """What linears are ranked by where `ratio` leaves some in the backup precision; null: max_activation_variance where text is
    read, else weight_quantization_error. All others read calibration text."""
    backup: Backup = "int8_asym"
    """What embeddings, the head and the rest that `ratio` leaves are stored as; none: as they are."""
    all_layers: bool = False
    """Whether embeddings and the head are stored in `dtype`, too."""
    fallback: Fallback = "error"
    """What becomes of a linear whose inputs `group_size` does not divide: refused, left as it is, or given the largest power
    of two that divides them, 32 at the least."""

    @property
    def reads(self) -> bool:
        """Whether calibration text is read for it."""
        return self.lora_rank is not None or self.sensitivity not in (None, "weight_quantization_error")

    def group_size(self, asked: int, columns: int) -> int | None:
        """Weights per scale of a linear of so many inputs; None: it is not stored in the recipe's dtype."""
        if asked == -1 or columns % asked == 0:
            return asked
        power = columns & -columns
        return power if self.fallback == "adjust" and power >= ADJUSTED else None
