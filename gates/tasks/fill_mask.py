"""Masked language models: what they put where tokens of a text are masked, three of twenty, the same for every artifact."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gates.clients.client import Loaded
from gates.errors import GateError
from gates.tasks.contract import Asked, Data, DistributionTask, Row
from gates.tasks.encoders import output, tokenized

SHARE = 0.15
"""Of a text's tokens, as such models are trained; one at the least."""


class FillMask(DistributionTask):
    """A row is a text with tokens masked, which ones in `masked`, and in `targets` what was there."""

    name = "fill-mask"
    nothing = "no text has a token that could be masked; give more text."

    def rows(self, data: Sequence[Data], asked: Asked) -> list[Row | None]:
        """Mask tokens that are drawn by the row's number."""
        if asked.tokenizer.mask_token_id is None:
            raise GateError(f"{asked.model}: its tokenizer has no token that masks another, so nothing can be asked.")
        return [self._row(number, row["text"], asked) for number, row in enumerate(data)]

    def _row(self, number: int, text: str, asked: Asked) -> Row | None:
        row = tokenized(asked.tokenizer, text, None, asked.tokens)
        special = asked.tokenizer.get_special_tokens_mask(row["input_ids"].tolist(), already_has_special_tokens=True)
        plain = (torch.tensor(special) == 0).nonzero().flatten()
        if not len(plain):
            return None
        order = torch.randperm(len(plain), generator=torch.Generator().manual_seed(number))
        masked = plain[order[: max(1, round(SHARE * len(plain)))]].sort().values
        targets = row["input_ids"][masked].clone()
        row["input_ids"][masked] = asked.tokenizer.mask_token_id
        return {**row, "masked": masked, "targets": targets}

    def logits(self, loaded: Loaded, row: Row) -> Tensor:
        """At the masked tokens."""
        return output(loaded, row, "logits")[row["masked"].long()]


TASK = FillMask()
