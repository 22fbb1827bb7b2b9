"""Text as rows of tokens, all of one length, so that a step's loss is a plain mean whoever holds which rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.errors import AdapterError
from adapters.recipe import Recipe


class Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Rows of token ids that are their own labels."""

    def __init__(self, ids: Tensor) -> None:
        self.ids = ids
        """int64 (rows, tokens)."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.ids[index], "labels": self.ids[index]}


def read(documents: Path, tokenizer: Any, recipe: Recipe) -> Rows:
    """Join all documents, each ended by the token that ends a text, and cut rows; what does not fill a batch is left out.

    Raises:
        AdapterError: the text makes less than one batch.
    """
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    ids: list[int] = []
    for text in _texts(documents):
        ids += [*tokenizer(text)["input_ids"], *end]
    rows = len(ids) // recipe.tokens // recipe.batch * recipe.batch
    if not rows:
        raise AdapterError(
            f"{documents}: the text makes {len(ids):,} tokens, and a step reads {recipe.batch} rows of {recipe.tokens}. "
            "Give more text, or ask for fewer rows per step or fewer tokens per row."
        )
    return Rows(torch.tensor(ids[: rows * recipe.tokens], dtype=torch.int64).view(rows, recipe.tokens))


def _texts(documents: Path) -> list[str]:
    if not documents.is_file():
        raise AdapterError(f"{documents}: no such file. The text is JSON Lines, one object per document.")
    with documents.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines if line.strip()]
