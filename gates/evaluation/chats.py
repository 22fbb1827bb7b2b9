"""Held-out text put through a chat template, for models that are used that way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ASK = "Continue this text:\n\n"


def rows(tokenizer: Any, documents: list[Tensor]) -> list[tuple[Tensor, int]]:
    """Turn each document into one turn of conversation: the first half is asked to be continued, the rest is the reply.

    Returns token ids, int64 (tokens,), and the place of the reply's first token, from which on a row is scored. Empty
    for a tokenizer without a chat template; a document too short to halve is left out.
    """
    if tokenizer.chat_template is None:
        return []
    return [_row(tokenizer, ids) for ids in documents if len(ids) >= 4]


def _row(tokenizer: Any, ids: Tensor) -> tuple[Tensor, int]:
    half = len(ids) // 2
    question = ASK + tokenizer.decode(ids[:half], skip_special_tokens=True)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=True, add_generation_prompt=True, return_dict=True
    )["input_ids"]
    return torch.cat([torch.tensor(asked, dtype=torch.int64), ids[half:]]), len(asked)
