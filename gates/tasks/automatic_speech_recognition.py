"""Sounds written down: the decoder at every token of a transcript, what is written greedily, and how many words are wrong.

The audio is stored, and each model hears it through the feature extractor that lies beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from catalog.reading import sounds
from gates.clients.client import Loaded
from gates.evaluation import readers
from gates.evaluation.findings import Findings
from gates.evaluation.words import word_errors
from gates.tasks.contract import Asked, Data, Row
from gates.tasks.sequences import SequenceTask, Written, text_of, tokenizer_of


@dataclass(frozen=True)
class Heard(Written):
    """What both models write of one sound, against its transcript."""

    errors_original: float | None = None
    """Words that are put in, left out or taken for others by the original; None where no transcript is."""
    errors: float | None = None
    words: float | None = None
    """Of the transcript."""


class AutomaticSpeechRecognition(SequenceTask):
    """A row is `samples`, float32 (samples,) at the extractor's rate, and the bytes of its transcript, `reference`.

    `begun` are the tokens that a transcript begins with: of language, task and timestamps, as the original writes them.
    """

    name = "automatic-speech-recognition"
    nothing = "no row has a sound."

    def rows(self, data: Sequence[Data], asked: Asked) -> list[Row | None]:
        """Read sounds at the rate of the original's feature extractor, and tokenize transcripts."""
        extractor = readers.extractor(asked.model)
        return [self._row(asked, extractor, each) for each in data]

    def _row(self, asked: Asked, extractor: Any, data: Data) -> Row | None:
        samples = torch.from_numpy(sounds.read(data["audio"], extractor))
        if not len(samples):
            return None
        row = {"samples": samples, "begun": torch.tensor(asked.tokenizer.prefix_tokens, dtype=torch.int64)}
        if (text := data.get("transcript")) is not None:
            plain, spaced = (
                torch.tensor(sounds.transcript(each, asked.tokenizer, asked.tokens), dtype=torch.int64)
                for each in (text, f" {text}")
            )
            said = torch.frombuffer(bytearray(text, "utf-8") or bytearray(b" "), dtype=torch.uint8)
            row |= {"targets": plain, "spaced": spaced, "reference": said}
        return row

    def given(self, loaded: Loaded, row: Row) -> Mapping[str, Tensor]:
        """What the feature extractor beside the model makes of the sound."""
        if "extractor" not in loaded.beside:
            loaded.beside["extractor"] = readers.extractor(loaded.path)
        extractor = loaded.beside["extractor"]
        made = sounds.heard(row["samples"].numpy(), extractor)
        return {name: torch.as_tensor(value) for name, value in made.items()}

    def begins(self, loaded: Loaded, row: Row) -> Tensor:
        """As many as the original begins with."""
        return row["begun"].long()

    def write(self, loaded: Loaded, row: Row) -> tuple[int, ...]:
        """Write the sound down."""
        tokens = loaded.written(self.given(loaded, row), self.most(loaded))
        return tuple(takewhile(lambda token: token not in loaded.ends, tokens))

    def _begun(self, loaded: Loaded, row: Row) -> Tensor:
        """The special tokens that a model begins a transcript with, int64 (tokens,)."""
        special = frozenset(tokenizer_of(loaded).all_special_ids) - loaded.ends
        tokens = loaded.written(self.given(loaded, row), 1, whole=True)
        return torch.tensor(list(takewhile(lambda token: token in special, tokens)), dtype=torch.int64)

    def most(self, loaded: Loaded) -> int:
        """Half of the decoder's positions, as OpenAI's own decoding has it."""
        return int(loaded.model.config.max_target_positions) // 2

    def describe(self, loaded: Loaded, row: Row, index: int) -> Row:
        """Store how the original begins, too, and the target as it would write it: behind a space or not."""
        spaced = row.get("spaced")
        row = {name: value for name, value in row.items() if name != "spaced"}
        if loaded.is_whole:
            row["begun"] = self._begun(loaded, row)
            if spaced is not None and text_of(loaded, self.write(loaded, row)).startswith(" "):
                row["targets"] = spaced
        if "targets" in row:
            room = int(loaded.model.config.max_target_positions) - len(row["begun"])
            row["targets"] = row["targets"][:room].contiguous()
        return super().describe(loaded, row, index)

    def scored(self, own: dict[str, Any], same: float, loaded: Loaded, stored: Row, after: tuple[int, ...]) -> Heard:
        """Count the words that both get wrong."""
        reference = bytes(stored["reference"].tolist()).decode()
        before, now = (word_errors(reference, text_of(loaded, each)) for each in (stored["written"].tolist(), after))
        return Heard(**own, same=same, errors_original=before.errors, errors=now.errors, words=before.words)

    def examine(self, loaded: Loaded, asked: Asked, findings: Findings) -> None:
        """Look for a collapse into repetition in what is written of the first sounds, which is shown."""
        self.look_at_written(loaded, asked, findings, "the transcripts'", lambda index, row: f"sound {index}")


TASK = AutomaticSpeechRecognition()
