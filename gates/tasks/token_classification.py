"""A class for every word of a sentence, such as names of persons and places, told at the word's first token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from gates.clients.client import Loaded
from gates.errors import GateError
from gates.judging.gate import Hits, Positions
from gates.tasks.contract import Asked, Data, DistributionTask, Row
from gates.tasks.encoders import inputs, output

OUTSIDE = "O"
"""The label of a word that is part of nothing."""


@dataclass(frozen=True)
class Tagged(Positions):
    """What both models say of the words of one sentence, and how many entities they find of those that are there."""

    hits: Hits | None = None


class TokenClassification(DistributionTask):
    """A row is what the tokenizer makes of the words, each word's first token in `firsts`, and their true `targets`."""

    name = "token-classification"
    nothing = "no row has a word."

    def rows(self, data: Sequence[Data], asked: Asked) -> list[Row | None]:
        """Tokenize word by word; what is cut off is not judged."""
        if not asked.tokenizer.is_fast:
            raise GateError(f"{asked.model}: its tokenizer does not tell words apart; save it as tokenizer.json.")
        label2id = AutoConfig.from_pretrained(asked.model, local_files_only=True).label2id
        return [_row(asked, list(row["words"]), row.get("labels"), label2id) for row in data]

    def logits(self, loaded: Loaded, row: Row) -> Tensor:
        """At the first token of each word."""
        return output(loaded, row, "logits")[row["firsts"].long()]

    def compared(self, loaded: Loaded, stored: Row) -> Positions:
        """Count entities as well, where the true ones are known."""
        compared = super().compared(loaded, stored)
        if compared.targets is None:
            return compared
        names = loaded.model.config.id2label
        true, before, after = (
            entities([names[int(label)] for label in labels])
            for labels in (compared.targets, compared.first_original, compared.first)
        )
        own = {field.name: getattr(compared, field.name) for field in fields(Positions)}
        hits = Hits(len(true & before), len(before), len(true & after), len(after), len(true))
        return Tagged(**own, hits=hits)


def _row(asked: Asked, words: list[str], labels: Any, label2id: dict[str, int]) -> Row | None:
    made = asked.tokenizer(words, is_split_into_words=True, truncation=True, max_length=asked.tokens)
    firsts: dict[int, int] = {}
    for position, word in enumerate(made.word_ids()):
        if word is not None:
            firsts.setdefault(word, position)
    if not firsts:
        return None
    row = inputs(made)
    row["firsts"] = torch.tensor(list(firsts.values()))
    if labels is not None:
        if len(labels) != len(words):
            raise GateError(
                f"{len(words)} words beginning with {words[0]!r} have {len(labels)} labels; give one for each."
            )
        if unknown := [label for label in labels if isinstance(label, str) and label not in label2id]:
            raise GateError(f"label {unknown[0]!r} is none of the model's, which are {', '.join(map(str, label2id))}.")
        row["targets"] = torch.tensor(
            [label2id[labels[w]] if isinstance(labels[w], str) else int(labels[w]) for w in firsts]
        )
    return row


def entities(labels: Sequence[str]) -> set[tuple[str, int, int]]:
    """Return kind, first word and end of each entity in labels of the scheme B-, I- and O; plain ones are of one word run."""
    spans: set[tuple[str, int, int]] = set()
    kind, start = OUTSIDE, 0
    for position, label in enumerate([*labels, OUTSIDE]):
        mark, _, name = label.rpartition("-")
        if kind != OUTSIDE and (name != kind or mark == "B"):
            spans.add((kind, start, position))
            kind = OUTSIDE
        if kind == OUTSIDE and name != OUTSIDE:
            kind, start = name, position
    return spans


TASK = TokenClassification()
