"""What a task is to the gates: one object that makes rows, runs both models on them, and says how far they are apart.

A row is stored with all that both models are given, so that every artifact is given what the original was given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from catalog.task import DOMAIN
from catalog.tasks import TASKS
from gates.clients.client import Loaded
from gates.errors import GateError
from gates.evaluation import scoring
from gates.evaluation.findings import Findings
from gates.evidence import Document
from gates.judging.gate import Positions
from gates.spec import KINDS

Row = dict[str, Tensor]
"""Tensors of one row by name: what models are given and, once the original was run, what it made of that."""
Data = Mapping[str, Any]
"""One row of a data file, by the names of `Task.columns`."""


class NotFinite(GateError):
    """A model returned what is no number; whoever knows the model and the row says so."""


def finite(values: Tensor) -> Tensor:
    """Return `values`. Raises NotFinite."""
    if not torch.isfinite(values).all():
        raise NotFinite("a value is no number")
    return values


class Compared(Protocol):
    """What both models made of one row, as the kinds of gates read it."""

    @property
    def count(self) -> int:
        """Positions at which they were compared."""


@dataclass(frozen=True)
class Stored:
    """Rows that a baseline keeps, one file each."""

    directory: Path

    def read(self, index: int) -> Row:
        """Return a row."""
        row: Row = load_file(self.directory / f"{index:06d}.safetensors")
        return row

    def domain(self, index: int) -> str | None:
        """Return what kind of text a row is; None: its data did not say."""
        with safe_open(self.directory / f"{index:06d}.safetensors", framework="pt") as row:  # type: ignore[no-untyped-call]
            return bytes(row.get_tensor(DOMAIN.name).tolist()).decode() if DOMAIN.name in set(row.keys()) else None

    def write(self, index: int, row: Row) -> None:
        """Write a row."""
        save_file(row, self.directory / f"{index:06d}.safetensors")

    def __len__(self) -> int:
        return sum(1 for _ in self.directory.glob("*.safetensors")) if self.directory.is_dir() else 0


@dataclass(frozen=True)
class Asked:
    """What a step is asked, as far as tasks need to know it."""

    model: Path
    """The original."""
    tokenizer: Any
    tokens: int
    """Of a row at the most."""
    baseline: Path
    """Directory that the original's answers are in, or are written to."""
    processor: Any = None
    """Of files that rows name, such as images."""


class MeasuredTask(ABC):
    """How one task is measured. What it lists in `catalog.tasks` is what it must keep."""

    name: ClassVar[str]
    nothing: ClassVar[str] = "no row has anything to compare."
    """Why there is no row, for a person."""

    @abstractmethod
    def rows(self, data: Sequence[Data], asked: Asked) -> list[Row | None]:
        """Return what both models are given for each row of data; None: there is nothing to compare."""

    def views(self, rows: list[Row], asked: Asked) -> dict[str, list[Row]]:
        """Return the rows that the original is run on, by the directory they are stored in: `documents` are judged.

        `chat` are judged, too, and others are what these are held against.
        """
        return {"documents": rows}

    def announce(self, loaded: Loaded, rows: list[Row]) -> None:  # noqa: B027  a client that runs row by row needs none
        """Tell a client which rows it will be asked about."""

    def foresee(self, loaded: Loaded, asked: Asked, rows: list[Row] | None = None) -> None:  # noqa: B027  likewise
        """Tell a client what it will be asked besides: by `probe` of these rows, or else by `examine`."""

    @abstractmethod
    def describe(self, loaded: Loaded, row: Row, index: int) -> Row:
        """Return what is stored of a row under the original. Raises NotFinite."""

    @abstractmethod
    def positions(self, stored: Row) -> int:
        """Return at how many positions a stored row is compared."""

    @abstractmethod
    def compare(self, loaded: Loaded, stored: Stored, indices: range) -> Iterator[Document]:
        """Run an artifact on stored rows and compare it with the original. Raises NotFinite."""

    def document(self, index: int, compared: Compared) -> Document:
        """Return what is kept of one row."""
        kinds = [KINDS[name] for name in TASKS[self.name].gates]
        if getattr(compared, "targets", None) is None:
            kinds = [kind for kind in kinds if not kind.labelled]
        return Document(
            index=index,
            tokens=compared.count,
            sums={
                name: amount
                for kind in kinds
                for name, sum_of in kind.sums.items()
                if (amount := sum_of(compared)) is not None
            },
            tops={name: tuple(amounts(compared)) for kind in kinds for name, amounts in kind.tops.items()},
        )

    def width(self, loaded: Loaded, rows: list[Row]) -> int:
        """Return how many tokens the model knows: a tokenizer must make none beyond."""
        return int(loaded.model.get_input_embeddings().num_embeddings)

    def probe(self, loaded: Loaded, rows: list[Row], asked: Asked) -> None:  # noqa: B027  most ask nothing else
        """Ask the original whatever else an artifact is held against, and store that with the baseline."""

    def examine(self, loaded: Loaded, asked: Asked, findings: Findings) -> None:  # noqa: B027  most have none
        """Make the checks that are this task's own."""

    def timed_row(self, asked: Asked) -> list[int]:
        """Return token ids for a process that measures speed."""
        raise GateError(
            f"Speed is measured of models that write text, and the task is {self.name}; leave the gate out."
        )


class DistributionTask(MeasuredTask):
    """A task whose models answer with distributions over classes, tokens mostly, at positions of a row."""

    @abstractmethod
    def logits(self, loaded: Loaded, row: Row) -> Tensor:
        """Return a model's logits at the positions of a row, (n, classes)."""

    def targets(self, row: Row) -> Tensor | None:
        """Return what is true there, int64 (n,); None where nobody knows."""
        return row["targets"].long() if "targets" in row else None

    def describe(self, loaded: Loaded, row: Row, index: int) -> Row:
        """Store the distributions beside what the model was given."""
        described = scoring.describe(finite(self.logits(loaded, row)), self.targets(row), index)
        given = {name: value.to(torch.int32) if value.dtype == torch.int64 else value for name, value in row.items()}
        return {**given, **cast(Row, described)}

    def positions(self, stored: Row) -> int:
        """Return the number of distributions."""
        return len(stored["loss"])

    def compare(self, loaded: Loaded, stored: Stored, indices: range) -> Iterator[Document]:
        """Compare row by row."""
        for index in indices:
            yield self.document(index, self.compared(loaded, stored.read(index)))

    def compared(self, loaded: Loaded, stored: Row) -> Positions:
        """Compare the distributions of one row. Raises NotFinite."""
        described = cast(scoring.Row, {name: stored[name] for name in scoring.Row.__annotations__})
        return scoring.compare(described, finite(self.logits(loaded, stored)), self.targets(stored))
