"""What tasks of encoders share: a text, or a pair of them, as the tensors that a tokenizer makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gates.clients.client import Loaded
from gates.tasks.contract import Row, finite

GIVEN = ("input_ids", "attention_mask", "token_type_ids")
"""Inputs that tokenizers make of text, as far as a model takes them."""
_RAN = "ran"
"""The row that a model ran last, and what it made of that."""


def tokenized(tokenizer: Any, text: str, pair: str | None, tokens: int) -> Row:
    """Return the tensors of one text or pair, int64 (tokens,) each, cut off after `tokens`."""
    return inputs(tokenizer(text, pair, truncation=True, max_length=tokens))


def inputs(made: Mapping[str, Any]) -> Row:
    """Return what a model is given of what a tokenizer made of one text, int64 (tokens,) each."""
    return {name: torch.tensor(made[name], dtype=torch.int64) for name in GIVEN if name in made}


def output(loaded: Loaded, row: Row, name: str) -> Tensor:
    """Return one output of a model for one row, float32, without the row's dimension. Raises NotFinite.

    A row that is asked about again, for another of its outputs, is not run again.
    """
    ran: tuple[Row, Mapping[str, Tensor]] | None = loaded.beside.get(_RAN)
    if ran is None or ran[0] is not row:
        ran = row, loaded.outputs({key: row[key].long()[None] for key in GIVEN if key in row})
        loaded.beside[_RAN] = ran
    return finite(torch.as_tensor(ran[1][name][0]).float())
