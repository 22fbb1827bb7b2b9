"""Hidden states of the calibration rows between two blocks, in memory up to a budget and on disk beyond it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from quantizers.errors import QuantizeError
from quantizers.hardware.threads import pieces, side_by_side

COLUMNS = 512
"""Of a second moment that are summed together."""


class Activations:
    """A fixed number of batches `[rows, tokens, hidden]`, replaced one at a time.

    Which batches are kept in memory follows from their number and the budget alone.
    """

    def __init__(self, directory: Path, budget: int | None) -> None:
        self._directory = directory
        self._budget = budget
        self._held: dict[int, Tensor] = {}
        self._spilled: set[int] = set()

    def __len__(self) -> int:
        return len(self._held) + len(self._spilled)

    def __iter__(self) -> Iterator[Tensor]:
        for index in range(len(self)):
            yield self[index]

    def __getitem__(self, index: int) -> Tensor:
        if index in self._held:
            return self._held[index]
        with safe_open(self._file(index), framework="pt") as file:  # type: ignore[no-untyped-call]
            batch: Tensor = file.get_tensor("hidden").clone()
            return batch

    def __setitem__(self, index: int, batch: Tensor) -> None:
        if self._budget is not None and batch.nbytes > self._budget:
            raise QuantizeError(
                f"memory budget {self._budget} bytes for a stack's hidden states: one batch takes {batch.nbytes}. "
                "Give at least that (twice that to an encoder-decoder model), or fewer tokens per row."
            )
        room = self._budget is None or (index + 1) * batch.nbytes <= self._budget
        if room:
            self._held[index] = batch
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        save_file({"hidden": batch.contiguous()}, self._file(index))
        self._spilled.add(index)

    def _file(self, index: int) -> Path:
        return self._directory / f"{index}.safetensors"


def gram(total: Tensor, batch: Tensor) -> None:
    """Add XᵀX of a batch `[..., in]` to the lower half of the float32 `[in, in]` `total`, in place; see `mirror`.

    float32 whatever the batch is: a sum in bfloat16 is not positive definite. Half a product costs half of one.
    """
    rows = batch.reshape(-1, batch.shape[-1]).float().contiguous()
    if total.device.type != "cpu":
        total.addmm_(rows.T, rows)
        return

    def add(cut: slice) -> None:
        total[cut.start :, cut].addmm_(rows[:, cut.start :].T, rows[:, cut])

    side_by_side(add, pieces(len(total), COLUMNS))


def mirror(total: Tensor) -> None:
    """Copy the lower half of a matrix that `gram` summed to its upper half, in place, a block of rows at a time."""
    for start in range(0, len(total), 512):
        cut = slice(start, start + 512)
        below = total[start:, cut]
        square = below[: below.shape[1]]
        square.copy_(square.tril() + square.tril(-1).T)
        total[cut, start + below.shape[1] :] = below[below.shape[1] :].T
