"""Embeddings: one vector of a text, held against the original's by itself and by what it is near to.

Every second row is a query, and the others are a collection that stays as it is: how alike a query is to each of these, and
which ten are nearest, is compared between the original's vectors and the artifact's. Queries are independent of each other
given the collection, so bounds over them hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from catalog import sentence_transformers as layout
from catalog.progress import report
from gates.clients.client import Loaded
from gates.evidence import Document
from gates.judging.gate import Embedded
from gates.tasks.contract import Asked, Data, MeasuredTask, Row, Stored
from gates.tasks.encoders import output, tokenized
from gates.tasks.pooling import Step, embed, steps

NEAREST = 10
LEAST = 2 * (NEAREST + 2)
"""Rows that make a collection of more than the nearest."""
COLLECTION = 4096
"""Rows of a collection at the most: each is embedded once for every look at an artifact."""


class FeatureExtraction(MeasuredTask):
    """A row is what the tokenizer makes of a text; stored beside it is the original's `embedding`, float32 (dimensions,)."""

    name = "feature-extraction"
    nothing = f"embeddings are held against their {NEAREST} nearest, which takes {LEAST} distinct rows; give more text."

    def rows(self, data: Sequence[Data], asked: Asked) -> list[Row | None]:
        """Tokenize as sentence-transformers does: with its own limit, behind its default prompt."""
        if len(data) < LEAST:
            return [None] * len(data)
        said = layout.settings(asked.model, "sentence_bert_config.json")
        most = min(asked.tokens, int(said.get("max_seq_length") or asked.tokens), asked.tokenizer.model_max_length)
        before = layout.prompt(asked.model)
        return [tokenized(asked.tokenizer, before + row["text"], None, most) for row in data]

    def views(self, rows: list[Row], asked: Asked) -> dict[str, list[Row]]:
        """Deal the rows to queries and collection in turn."""
        return {"documents": rows[::2], "collection": rows[1::2][:COLLECTION]}

    def describe(self, loaded: Loaded, row: Row, index: int) -> Row:
        """Store the original's vector."""
        given = {name: value.to(torch.int32) for name, value in row.items()}
        return {**given, "embedding": self._embedding(loaded, row)}

    def positions(self, stored: Row) -> int:
        """One."""
        return 1

    def compare(self, loaded: Loaded, stored: Stored, indices: range) -> Iterator[Document]:
        """Embed the collection once, then every query."""
        others = Stored(stored.directory.with_name("collection"))
        rows = [others.read(index) for index in range(len(others))]
        original = functional.normalize(torch.stack([row["embedding"] for row in rows]), dim=-1)
        vectors = []
        for number, row in enumerate(rows, 1):
            vectors.append(self._embedding(loaded, row))
            report("artifact: embedding the collection", number, len(rows))
        artifact = functional.normalize(torch.stack(vectors), dim=-1)
        for index in indices:
            query = stored.read(index)
            before, after = (
                functional.normalize(each, dim=-1) for each in (query["embedding"], self._embedding(loaded, query))
            )
            yield self.document(index, compared(before, after, original, artifact))

    def _embedding(self, loaded: Loaded, row: Row) -> Tensor:
        pooling = steps_of(loaded)
        return embed(output(loaded, row, "last_hidden_state"), row["attention_mask"], pooling)


def steps_of(loaded: Loaded) -> list[Step]:
    """The steps of the directory that a model was loaded from: its own, which travel along with it."""
    if "pooling" not in loaded.beside:
        loaded.beside["pooling"] = steps(loaded.path)
    pooling: list[Step] = loaded.beside["pooling"]
    return pooling


def compared(before: Tensor, after: Tensor, original: Tensor, artifact: Tensor) -> Embedded:
    """Compare the vectors of a query, of length 1, by themselves and by their likeness to both collections, (rows, width)."""
    first, second = original @ before, artifact @ after
    nearest = [set(each.topk(NEAREST).indices.tolist()) for each in (first, second)]
    return Embedded(
        cosine=float(before @ after),
        overlap=len(nearest[0] & nearest[1]) / NEAREST,
        correlation=_correlation(first, second),
    )


def _correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's correlation of likenesses."""
    ranks = [each.double().argsort().argsort().double() for each in (first, second)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


TASK = FeatureExtraction()
