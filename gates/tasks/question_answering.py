"""Answers as a span of a text: distributions over its tokens, of the first and of the last of the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from gates.clients.client import Loaded
from gates.errors import GateError
from gates.judging.gate import Hits, Positions
from gates.tasks.contract import Asked, Data, DistributionTask, Row
from gates.tasks.encoders import inputs, output

LONGEST = 30
"""Tokens of an answer, as transformers' pipeline has it up to."""


@dataclass(frozen=True)
class Answered(Positions):
    """What both models say of one question, whether that is the same span, and what it shares with true answers."""

    same: float = 0.0
    hits: Hits | None = None


class QuestionAnswering(DistributionTask):
    """A row is question and context as one, and the `context`'s tokens; true `answers` have -1 behind each."""

    name = "question-answering"
    nothing = "no row has a context that fits beside its question."

    def rows(self, data: Sequence[Data], asked: Asked) -> list[Row | None]:
        """Cut the context off where both together are too long."""
        if not asked.tokenizer.is_fast:
            raise GateError(f"{asked.model}: its tokenizer does not tell the context apart; save it as tokenizer.json.")
        return [self._row(asked, row) for row in data]

    def _row(self, asked: Asked, data: Data) -> Row | None:
        made = asked.tokenizer(data["question"], data["context"], truncation="only_second", max_length=asked.tokens)
        within = [position for position, part in enumerate(made.sequence_ids()) if part == 1]
        if not within:
            return None
        row = inputs(made)
        row["context"] = torch.tensor(within)
        if answers := data.get("answers"):
            plain = [asked.tokenizer(each, add_special_tokens=False)["input_ids"] for each in answers]
            row["answers"] = torch.tensor([token for each in plain for token in (*each, -1)])
        return row

    def logits(self, loaded: Loaded, row: Row) -> Tensor:
        """Of the context's tokens alone: no client answers with another."""
        within = row["context"].long()
        return torch.stack([output(loaded, row, f"{end}_logits")[within] for end in ("start", "end")])

    def describe(self, loaded: Loaded, row: Row, index: int) -> Row:
        """Store the span that is answered, too."""
        return {**super().describe(loaded, row, index), "span": torch.tensor(_span(self.logits(loaded, row)))}

    def compared(self, loaded: Loaded, stored: Row) -> Positions:
        """Compare the answers as well."""
        compared = super().compared(loaded, stored)
        own = {field.name: getattr(compared, field.name) for field in fields(Positions)}
        before, after = tuple(stored["span"].tolist()), _span(self.logits(loaded, stored))
        return Answered(**own, same=float(before == after), hits=_hits(stored, before, after))


def _span(logits: Tensor) -> tuple[int, int]:
    """First and last token of the likeliest span of the context, as transformers' pipeline finds it."""
    start, end = logits.double().softmax(-1)
    likely = (start[:, None] * end[None, :]).triu().tril(LONGEST - 1)
    first, last = divmod(int(likely.argmax()), likely.shape[1])
    return first, last


def _hits(row: Row, before: tuple[int, ...], after: tuple[int, ...]) -> Hits | None:
    """Tokens that an answer shares with the true one, of several the one it shares most with."""
    if "answers" not in row:
        return None
    true: list[Counter[int]] = [Counter()]
    for token in row["answers"].tolist():
        if token < 0:
            true.append(Counter())
        else:
            true[-1][token] += 1
    context = row["input_ids"][row["context"].long()].tolist()
    said = [Counter(context[first : last + 1]) for first, last in (before, after)]
    best = max(true[:-1], key=lambda answer: sum((answer & said[0]).values()))
    shared = [max(sum((answer & own).values()) for answer in true[:-1]) for own in said]
    return Hits(shared[0], sum(said[0].values()), shared[1], sum(said[1].values()), sum(best.values()))


TASK = QuestionAnswering()
