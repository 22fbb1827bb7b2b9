"""Sequences turned into sequences: the next token of a target at every position, and what is written greedily for a source.

A row without a target has the original's own greedy output for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from gates.checks import behaviour
from gates.clients.client import Loaded
from gates.errors import GateError
from gates.evaluation import probes
from gates.evaluation.findings import Findings
from gates.judging.gate import Positions
from gates.progress import report
from gates.tasks.contract import Asked, Data, DistributionTask, Row, finite
from gates.tasks.encoders import tokenized

WRITTEN = 64
"""Tokens that are written for a source at the most."""


@dataclass(frozen=True)
class Written(Positions):
    """What both models say of one target, and what they write for its source."""

    same: float | None = None
    """1 where both write the same, word for word; None of an original that writes nothing (`Loaded.is_whole`)."""
    chrf_original: float | None = None
    """chrF, 0 to 100, of what the original writes against the row's own target; None where it has none."""
    chrf: float | None = None


class Text2TextGeneration(DistributionTask):
    """A row is what the tokenizer makes of a source; `targets` are token ids, `reference` says whether the data gave them.

    Stored beside it is what the original writes, `written`.
    """

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

    def logits(self, loaded: Loaded, row: Row) -> Tensor:
        """What the decoder says before each token of the target."""
        begun = torch.tensor([_begins_with(loaded.model)])
        given = {name: row[name].long()[None] for name in ("input_ids", "attention_mask")}
        given["decoder_input_ids"] = torch.cat([begun, row["targets"].long()[:-1]])[None]
        return finite(torch.as_tensor(loaded.outputs(given)["logits"][0]).float())

    def targets(self, row: Row) -> Tensor:
        """The tokens of the target."""
        return row["targets"].long()

    def describe(self, loaded: Loaded, row: Row, index: int) -> Row:
        """Store what the original writes, too; it is the target where there is none."""
        if not loaded.is_whole:
            if "targets" not in row:
                raise GateError(
                    "The original is larger than the memory it may take, so it writes nothing, and rows without targets "
                    "have none; give targets, or more memory."
                )
            return super().describe(loaded, row, index)
        written = _write(loaded, row)
        if "targets" not in row:
            ended = [min(loaded.ends)] if loaded.ends and len(written) < WRITTEN else []
            row = {**row, "targets": torch.tensor([*written, *ended], dtype=torch.int64)}
        if not len(row["targets"]):
            raise GateError("The original writes nothing for a row that has no target; give targets.")
        return {**super().describe(loaded, row, index), "written": torch.tensor(written, dtype=torch.int32)}

    def compared(self, loaded: Loaded, stored: Row) -> Positions:
        """Compare what both write as well."""
        compared = super().compared(loaded, stored)
        if "written" not in stored:
            return compared
        own = {field.name: getattr(compared, field.name) for field in fields(Positions)}
        before, after = tuple(stored["written"].tolist()), _write(loaded, stored)
        if "reference" not in stored:
            return Written(**own, same=float(before == after))
        target, *texts = (_text(loaded, each) for each in (stored["targets"].tolist(), before, after))
        scores = [_chrf(text, target) for text in texts]
        return Written(**own, same=float(before == after), chrf_original=scores[0], chrf=scores[1])

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


def _write(loaded: Loaded, row: Row) -> tuple[int, ...]:
    (written,) = loaded.generate(row["input_ids"].long()[None], WRITTEN)
    return written


def _text(loaded: Loaded, tokens: Sequence[int]) -> str:
    if "tokenizer" not in loaded.beside:
        loaded.beside["tokenizer"] = AutoTokenizer.from_pretrained(loaded.path, local_files_only=True)
    text: str = loaded.beside["tokenizer"].decode(tokens, skip_special_tokens=True)
    return text


def _chrf(written: str, target: str) -> float:
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().sentence_score(written, [target]).score)


TASK = Text2TextGeneration()
