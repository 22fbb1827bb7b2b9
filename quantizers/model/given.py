"""What a model is run on: rows of calibration, or one to find its blocks by, under the names of its forward's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from quantizers.calibration.batches import BATCH_TOKENS


@dataclass(frozen=True)
class Given:
    """Some rows."""

    tensors: Mapping[str, Tensor]
    """By the name of an argument, rows in the first dimension."""
    step: int
    """Rows that pass a block at a time."""
    counted: Tensor | None = None
    """Of rows that were filled up to one length, which tokens are their own, bool `[rows, tokens]`; None: all."""

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    @property
    def ids(self) -> Tensor | None:
        """Token ids int64 `[rows, tokens]`, if these are all that is given."""
        return self.tensors["input_ids"] if set(self.tensors) == {"input_ids"} else None

    def first(self, count: int) -> Given:
        """The first rows."""
        tensors = {name: value[:count] for name, value in self.tensors.items()}
        return replace(self, tensors=tensors, counted=None if self.counted is None else self.counted[:count])


def of_ids(rows: Tensor) -> Given:
    """Text: token ids int64 `[rows, tokens]`."""
    return Given({"input_ids": rows}, max(1, BATCH_TOKENS // rows.shape[1]))
