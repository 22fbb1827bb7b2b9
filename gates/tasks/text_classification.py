"""Classes of a text or of a pair of texts; and the scores of cross-encoders, which rank passages by one number.

A model with one output, and one whose labels do not exclude each other, says of each output how likely it is: that is a
distribution over no and yes, by the logistic function that its clients apply.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from transformers import AutoConfig

from catalog.progress import report
from gates.clients.client import Loaded
from gates.evidence import Document
from gates.judging.gate import Positions
from gates.tasks.classes import distributions, target
from gates.tasks.contract import Asked, Data, DistributionTask, Row, Stored
from gates.tasks.encoders import output, tokenized

COLLECTION = 1024
"""Rows that scores are ranked among, at the most."""


@dataclass(frozen=True)
class Ranked(Positions):
    """What both models say of one row, and how its score stands among those of a collection."""

    ordered: float = 0.0
    """Share of the collection that both models put on the same side of the row."""


class TextClassification(DistributionTask):
    """A row is what the tokenizer makes of a text or a pair, its true class in `targets`, and `score` of a cross-encoder."""

    name = "text-classification"

    def rows(self, data: Sequence[Data], asked: Asked) -> list[Row | None]:
        """Tokenize, and look labels up by their names in config.json, or as its numbers."""
        config = AutoConfig.from_pretrained(asked.model, local_files_only=True)
        made: list[Row | None] = []
        for row in data:
            given = tokenized(asked.tokenizer, row["text"], row.get("pair"), asked.tokens)
            known = target(config, row.get("label"))
            if known is not None:
                given["targets"] = torch.tensor([known])
            made.append(given)
        return made

    def views(self, rows: list[Row], asked: Asked) -> dict[str, list[Row]]:
        """Of a cross-encoder, rank every second row among the others."""
        config = AutoConfig.from_pretrained(asked.model, local_files_only=True)
        if config.num_labels > 1 or len(rows) < 4:
            return {"documents": rows}
        return {"documents": rows[::2], "collection": rows[1::2][:COLLECTION]}

    def describe(self, loaded: Loaded, row: Row, index: int) -> Row:
        """Store a cross-encoder's score as well."""
        described = super().describe(loaded, row, index)
        logits = output(loaded, row, "logits")
        return {**described, "score": logits.clone()} if len(logits) == 1 else described

    def logits(self, loaded: Loaded, row: Row) -> Tensor:
        """One distribution over classes, or one of no and yes for each output."""
        return distributions(loaded.model.config, output(loaded, row, "logits"))

    def compare(self, loaded: Loaded, stored: Stored, indices: range) -> Iterator[Document]:
        """Score the collection once, then every row."""
        others = Stored(stored.directory.with_name("collection"))
        rows = [others.read(index) for index in range(len(others))]
        scores = []
        for number, row in enumerate(rows, 1):
            scores.append(output(loaded, row, "logits"))
            report("artifact: scoring the collection", number, len(rows))
        for index in indices:
            row = stored.read(index)
            compared = self.compared(loaded, row)
            if scores:
                before = (row["score"] - torch.cat([each["score"] for each in rows])).sign()
                after = (output(loaded, row, "logits") - torch.cat(scores)).sign()
                own = {field.name: getattr(compared, field.name) for field in fields(Positions)}
                compared = Ranked(**own, ordered=float((before == after).double().mean()))
            yield self.document(index, compared)


TASK = TextClassification()
