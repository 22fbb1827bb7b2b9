"""Text generation: the next token at every position of a document, and of a conversation made of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from catalog.progress import report
from gates.checks import behaviour
from gates.clients.client import Loaded
from gates.evaluation import chats, probes
from gates.evaluation.findings import Findings
from gates.tasks.contract import Asked, Data, DistributionTask, Row


class TextGeneration(DistributionTask):
    """A row is the token ids of a document, `ids`, of which those from `start` on are scored, the first but one if absent."""

    name = "text-generation"
    nothing = "no document has two tokens, so there is nothing to predict."

    def rows(self, data: Sequence[Data], asked: Asked) -> list[Row | None]:
        """Tokenize with the special tokens that the tokenizer adds of itself."""
        options = {"truncation": True, "max_length": asked.tokens}
        ids = [torch.tensor(asked.tokenizer(row["text"], **options)["input_ids"], dtype=torch.int64) for row in data]
        return [{"ids": each} if len(each) > 1 else None for each in ids]

    def views(self, rows: list[Row], asked: Asked) -> dict[str, list[Row]]:
        """Score conversations, too, of a model with a chat template."""
        talks = chats.rows(asked.tokenizer, [row["ids"] for row in rows])
        return {"documents": rows, "chat": [{"ids": ids, "start": torch.tensor(start)} for ids, start in talks]}

    def announce(self, loaded: Loaded, rows: list[Row]) -> None:
        """Their token ids."""
        loaded.expect([row["ids"].long() for row in rows])

    def foresee(self, loaded: Loaded, asked: Asked, rows: list[Row] | None = None) -> None:
        """The long row and the prompts, and of an original the token that tells the width of its logits."""
        if loaded.is_whole:
            return
        if rows is None:
            long: Row = load_file(asked.baseline / "long.safetensors")
            loaded.expect([long["ids"].long(), *torch.tensor(_probes(asked).prompts)])
            return
        documents = [row["ids"] for row in rows]
        loaded.expect([_long(loaded, documents, asked), *probes.prompts_of(documents), rows[0]["ids"][:1]])

    def describe(self, loaded: Loaded, row: Row, index: int) -> Row:
        """Store no more of where scoring starts than the number of losses."""
        return {name: value for name, value in super().describe(loaded, row, index).items() if name != "start"}

    def logits(self, loaded: Loaded, row: Row) -> Tensor:
        """What is said before each scored token."""
        return loaded.logits(row["ids"].long())[_start(row) - 1 : -1]

    def targets(self, row: Row) -> Tensor:
        """The tokens themselves."""
        return row["ids"][_start(row) :].long()

    def width(self, loaded: Loaded, rows: list[Row]) -> int:
        """The width of the logits."""
        return int(loaded.logits(rows[0]["ids"][:1]).shape[-1])

    def probe(self, loaded: Loaded, rows: list[Row], asked: Asked) -> None:
        """Continue prompts, and read one long row."""
        report("original: generating", 0, 1)
        documents = [row["ids"] for row in rows]
        answers = probes.ask(loaded, documents)
        (asked.baseline / "probes.json").write_text(answers.model_dump_json() + "\n")
        row = _long(loaded, documents, asked)
        losses = probes.losses(loaded, row)
        save_file({"ids": row.to(torch.int32), "loss": losses}, asked.baseline / "long.safetensors")
        report("original: generating", 1, 1)

    def examine(self, loaded: Loaded, asked: Asked, findings: Findings) -> None:
        """Look for a cliff in the context, and for a collapse into repetition."""
        report("artifact: generating", 0, 1)
        long: Row = load_file(asked.baseline / "long.safetensors")
        with findings.attempt("context"):
            findings.add(behaviour.context(loaded, long["ids"].long(), long["loss"]))
        with findings.attempt("generates"):
            answers = _probes(asked)
            if loaded.is_whole:
                check, findings.samples = behaviour.generates(loaded, answers, asked.tokenizer)
            else:
                check = behaviour.begins(loaded, answers)
            findings.add(check)
        report("artifact: generating", 1, 1)

    def timed_row(self, asked: Asked) -> list[int]:
        """The long row, of which decoding begins with the first token."""
        ids: list[int] = load_file(asked.baseline / "long.safetensors")["ids"].tolist()
        return ids


def _long(loaded: Loaded, documents: list[Tensor], asked: Asked) -> Tensor:
    return probes.long_row(documents, asked.tokens, loaded.context or asked.tokens)


def _probes(asked: Asked) -> probes.Probes:
    return probes.Probes.model_validate_json((asked.baseline / "probes.json").read_bytes())


def _start(row: Row) -> int:
    """The place of the first scored token, from how many are scored where that is known."""
    if "loss" in row:
        return len(row["ids"]) - len(row["loss"])
    return int(row["start"]) if "start" in row else 1


TASK = TextGeneration()
