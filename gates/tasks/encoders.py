"""What tasks of encoders share: a text, or a pair of them, as the tensors that a tokenizer makes of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gates.clients.client import Loaded
from gates.tasks.contract import Row, finite

GIVEN = ("input_ids", "attention_mask", "token_type_ids")
"""Inputs that tokenizers make of text, as far as a model takes them."""


def tokenized(tokenizer: Any, text: str, pair: str | None, tokens: int, **options: Any) -> Row:
    """Return the tensors of one text or pair, int64 (tokens,) each, cut off after `tokens`."""
    made = tokenizer(text, pair, truncation=True, max_length=tokens, **options)
    return {name: torch.tensor(made[name], dtype=torch.int64) for name in GIVEN if name in made}


def output(loaded: Loaded, row: Row, name: str) -> Tensor:
    """Return one output of a model for one row, float32, without the row's dimension. Raises NotFinite."""
    given = {key: row[key].long()[None] for key in GIVEN if key in row}
    return finite(torch.as_tensor(loaded.outputs(given)[name][0]).float())
