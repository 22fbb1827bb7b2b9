"""What tasks share whose models read something and write about it: the decoder at every token of a target, and what is written.

A row without a target has the original's own greedy output for one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from catalog.progress import report
from gates.checks import behaviour
from gates.clients.client import Loaded
from gates.errors import GateError
from gates.evaluation import probes
from gates.evaluation.findings import Findings
from gates.evidence import Sample
from gates.judging.gate import Positions
from gates.tasks.contract import Asked, DistributionTask, Row, Stored, finite

SHOWN = 8
"""Rows of which what is written is looked at for a collapse, and shown."""


@dataclass(frozen=True)
class Written(Positions):
    """What both models say of one target, and what they write."""

    same: float | None = None
    """1 where both write the same, word for word; None of an original that writes nothing (`Loaded.is_whole`)."""


class SequenceTask(DistributionTask):
    """A row holds what an encoder is given; `targets` are token ids, `reference` is there if the data gave them.

    Stored beside it is what the original writes, `written`.
    """

    @abstractmethod
    def given(self, loaded: Loaded, row: Row) -> Mapping[str, Tensor]:
        """Return what the encoder reads of a row, each tensor with a dimension of 1 before its own."""

    @abstractmethod
    def begins(self, loaded: Loaded, row: Row) -> Tensor:
        """Return the tokens that the decoder is given before the first of a target, int64 (tokens,)."""

    @abstractmethod
    def write(self, loaded: Loaded, row: Row) -> tuple[int, ...]:
        """Return what a model writes for a row, greedily, without the token that ends it."""

    @abstractmethod
    def most(self, loaded: Loaded) -> int:
        """Return how many tokens are written at the most."""

    @abstractmethod
    def scored(self, own: dict[str, Any], same: float, loaded: Loaded, stored: Row, after: tuple[int, ...]) -> Written:
        """Hold what an artifact wrote against what is true.

        Args:
            own: the fields of `Positions`.
            same: 1 where the original wrote the same.
            loaded: the artifact.
            stored: the row, which has a `reference`.
            after: what the artifact wrote.
        """

    def logits(self, loaded: Loaded, row: Row) -> Tensor:
        """What the decoder says before each token of the target."""
        begins, targets = self.begins(loaded, row), row["targets"].long()
        decoded = {"decoder_input_ids": torch.cat([begins, targets[:-1]])[None]}
        said = loaded.outputs({**self.given(loaded, row), **decoded})["logits"][0]
        return finite(torch.as_tensor(said[len(begins) - 1 :]).float())

    def targets(self, row: Row) -> Tensor:
        """The tokens of the target."""
        return row["targets"].long()

    def describe(self, loaded: Loaded, row: Row, index: int) -> Row:
        """Store what the original writes, too; it is the target where there is none."""
        if not loaded.is_whole:
            if "targets" not in row:
                raise GateError(
                    "The original is larger than the memory it may take, so it writes nothing, and rows without targets "
                    "have none; give targets, or more memory."
                )
            return super().describe(loaded, row, index)
        written = self.write(loaded, row)
        if "targets" not in row:
            ended = [min(loaded.ends)] if loaded.ends and len(written) < self.most(loaded) else []
            row = {**row, "targets": torch.tensor([*written, *ended], dtype=torch.int64)}
        if not len(row["targets"]):
            raise GateError("The original writes nothing for a row that has no target; give targets.")
        return {**super().describe(loaded, row, index), "written": torch.tensor(written, dtype=torch.int32)}

    def compared(self, loaded: Loaded, stored: Row) -> Positions:
        """Compare what both write as well."""
        compared = super().compared(loaded, stored)
        if "written" not in stored:
            return compared
        own = {field.name: getattr(compared, field.name) for field in fields(Positions)}
        before, after = tuple(stored["written"].tolist()), self.write(loaded, stored)
        same = float(before == after)
        return self.scored(own, same, loaded, stored, after) if "reference" in stored else Written(**own, same=same)

    def look_at_written(
        self, loaded: Loaded, asked: Asked, findings: Findings, whose: str, prompt: Callable[[int, Row], str]
    ) -> None:
        """Look for a collapse into repetition in what is written of the first rows, and show it.

        Args:
            loaded: the artifact.
            asked: where the baseline is.
            findings: take the check `generates`, and the samples.
            whose: what targets are called, where the original wrote nothing.
            prompt: what is shown of a row, by its number.
        """
        report("artifact: generating", 0, 1)
        with findings.attempt("generates"):
            stored = Stored(asked.baseline / "documents")
            rows = [stored.read(index) for index in range(min(SHOWN, len(stored)))]
            theirs = tuple(tuple(row.get("written", row["targets"]).tolist()) for row in rows)
            ours = tuple(self.write(loaded, row) for row in rows)
            silent = sum(not each for each in ours) > sum(not each for each in theirs)
            wrote = "written" in rows[0]
            findings.add(behaviour.collapse(ours, theirs, silent, "the original's" if wrote else whose))
            findings.samples = tuple(
                Sample(
                    prompt=prompt(index, row),
                    original=text_of(loaded, before) if wrote else None,
                    artifact=text_of(loaded, after),
                    tokens=len(before) + 1 if wrote else 0,
                    same=probes.alike(before, after) if wrote else 0,
                )
                for index, (row, before, after) in enumerate(zip(rows, theirs, ours, strict=True))
            )
        report("artifact: generating", 1, 1)


def tokenizer_of(loaded: Loaded) -> Any:
    """Return the tokenizer that lies beside a model, as its user will load it."""
    if "tokenizer" not in loaded.beside:
        loaded.beside["tokenizer"] = AutoTokenizer.from_pretrained(loaded.path, local_files_only=True)
    return loaded.beside["tokenizer"]


def text_of(loaded: Loaded, tokens: Sequence[int]) -> str:
    """Return what tokens say, without the special ones."""
    text: str = tokenizer_of(loaded).decode(tokens, skip_special_tokens=True)
    return text
