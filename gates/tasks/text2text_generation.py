"""Sequences turned into sequences: the next token of a target at every position, and what is written greedily for a source.

A row without a target has the original's own greedy output for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from catalog.progress import report
from gates.checks import behaviour
from gates.clients.client import Loaded
from gates.errors import GateError
from gates.evaluation import probes
from gates.evaluation.findings import Findings
from gates.tasks.contract import Asked, Data, Row
from gates.tasks.encoders import tokenized
from gates.tasks.sequences import SequenceTask, Written, text_of

WRITTEN = 64
"""Tokens that are written for a source at the most."""


@dataclass(frozen=True)
class Turned(Written):
    """What both models write for a source, against its target."""

    chrf_original: float | None = None
    """chrF, 0 to 100, of what the original writes against the row's own target; None where it has none."""
    chrf: float | None = None


class Text2TextGeneration(SequenceTask):
    """A row is what the tokenizer makes of a source."""

    name = "text2text-generation"
    nothing = "no row has a source with a token."

    def rows(self, data: Sequence[Data], asked: Asked) -> list[Row | None]:
        """Tokenize sources and targets, each with the special tokens of its side."""
        return [self._row(asked, row["source"], row.get("target")) for row in data]

    def _row(self, asked: Asked, source: str, target: str | None) -> Row | None:
        row = tokenized(asked.tokenizer, source, None, asked.tokens)
        row.pop("token_type_ids", None)
        if not len(row["input_ids"]):
            return None
        if target is not None:
            made = asked.tokenizer(text_target=target, truncation=True, max_length=asked.tokens)["input_ids"]
            row |= {"targets": torch.tensor(made, dtype=torch.int64), "reference": torch.tensor(True)}
        return row

    def given(self, loaded: Loaded, row: Row) -> Mapping[str, Tensor]:
        """The tokens of the source."""
        return {name: row[name].long()[None] for name in ("input_ids", "attention_mask")}

    def begins(self, loaded: Loaded, row: Row) -> Tensor:
        """One token, which the model's configuration names."""
        return torch.tensor([_begins_with(loaded.model)])

    def write(self, loaded: Loaded, row: Row) -> tuple[int, ...]:
        """Write for the source."""
        (written,) = loaded.generate(row["input_ids"].long()[None], WRITTEN)
        return written

    def most(self, loaded: Loaded) -> int:
        """As many for every model."""
        return WRITTEN

    def scored(self, own: dict[str, Any], same: float, loaded: Loaded, stored: Row, after: tuple[int, ...]) -> Turned:
        """Score both by chrF."""
        written = stored["written"].tolist()
        target, *texts = (text_of(loaded, each) for each in (stored["targets"].tolist(), written, after))
        scores = [_chrf(text, target) for text in texts]
        return Turned(**own, same=same, chrf_original=scores[0], chrf=scores[1])

    def probe(self, loaded: Loaded, rows: list[Row], asked: Asked) -> None:
        """Write for the beginnings of sources, the likeliest and what is drawn."""
        report("original: generating", 0, 1)
        sources = [row["input_ids"] for row in rows]
        if loaded.is_whole:
            answers = probes.ask(loaded, sources)
        else:
            prompts = tuple(tuple(prompt) for prompt in probes.prompts_of(sources).tolist())
            texts = tuple(tuple(row["targets"].tolist()) for row in rows[: probes.PROMPTS])
            answers = probes.Probes(prompts=prompts, greedy=None, sampled=texts, unanswered=0)
        (asked.baseline / "probes.json").write_text(answers.model_dump_json() + "\n")
        report("original: generating", 1, 1)

    def examine(self, loaded: Loaded, asked: Asked, findings: Findings) -> None:
        """Look for a collapse into repetition."""
        report("artifact: generating", 0, 1)
        with findings.attempt("generates"):
            answers = probes.Probes.model_validate_json((asked.baseline / "probes.json").read_bytes())
            check, findings.samples = behaviour.generates(loaded, answers, asked.tokenizer)
            findings.add(check)
        report("artifact: generating", 1, 1)


def _begins_with(model: Any) -> int:
    """The token that the decoder is given before the first."""
    settings = (getattr(model, "generation_config", None), model.config)
    named = (getattr(each, "decoder_start_token_id", None) for each in settings)
    begun = next((token for token in named if token is not None), None)
    if begun is None:
        raise GateError("The model names no decoder_start_token_id in config.json, so nothing can be written with it.")
    return int(begun)


def _chrf(written: str, target: str) -> float:
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().sentence_score(written, [target]).score)


TASK = Text2TextGeneration()
