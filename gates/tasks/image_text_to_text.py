"""What is said of an image when asked: the next token of an answer at every position, and what is written greedily.

Both models are given what the original's processor makes of image and prompt: that the artifact's makes the same is a check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from catalog.reading.images import opened
from gates.clients.client import Loaded
from gates.evaluation.findings import Findings
from gates.tasks.contract import Asked, Data, Row, finite
from gates.tasks.sequences import SequenceTask, Written, text_of

GIVEN = "given."
"""How the names begin of what the processor made: a row keeps each tensor with all its dimensions."""
WRITTEN = 64
"""Tokens that are written about an image at the most."""


class ImageTextToText(SequenceTask):
    """A row is what the processor makes of an image and a prompt, below `given.`; `targets` are the answer's token ids."""

    name = "image-text-to-text"

    def rows(self, data: Sequence[Data], asked: Asked) -> list[Row | None]:
        """Process images with their prompts, and tokenize answers, each with the token that ends a text."""
        return [self._row(asked, row) for row in data]

    def _row(self, asked: Asked, data: Data) -> Row:
        text = prompt(asked.processor, data["prompt"])
        made = asked.processor(images=opened(data["image"]), text=text, return_tensors="pt")
        row: Row = {f"{GIVEN}{name}": torch.as_tensor(value) for name, value in made.items()}
        if data.get("answer") is not None:
            tokens = asked.tokenizer(data["answer"], add_special_tokens=False)["input_ids"][: asked.tokens]
            end = asked.tokenizer.eos_token_id
            row["targets"] = torch.tensor([*tokens, *([] if end is None else [end])], dtype=torch.int64)
        return row

    def given(self, loaded: Loaded, row: Row) -> Mapping[str, Tensor]:
        """The prompt, and the image in it; whole numbers are stored in 32 bits."""
        made = {name.removeprefix(GIVEN): value for name, value in row.items() if name.startswith(GIVEN)}
        return {name: value.long() if value.dtype == torch.int32 else value for name, value in made.items()}

    def begins(self, loaded: Loaded, row: Row) -> Tensor:
        """The prompt: one model reads it and goes on."""
        return row[f"{GIVEN}input_ids"][0].long()

    def logits(self, loaded: Loaded, row: Row) -> Tensor:
        """What is said before each token of the answer."""
        given, begins, answer = dict(self.given(loaded, row)), self.begins(loaded, row), row["targets"].long()[:-1]
        for name, value in given.items():
            # What is told of each token of the prompt is told of the answer's, too: that it counts, and is no image.
            if value.shape == (1, len(begins)):
                more = torch.full((1, len(answer)), int(name == "attention_mask"), dtype=value.dtype)
                given[name] = torch.cat([value, more], 1)
        given["input_ids"] = torch.cat([begins, answer])[None]
        said = loaded.outputs(given)["logits"][0]
        return finite(torch.as_tensor(said[len(begins) - 1 :]).float())

    def write(self, loaded: Loaded, row: Row) -> tuple[int, ...]:
        """Write on behind the prompt."""
        tokens = loaded.written(self.given(loaded, row), WRITTEN)[len(self.begins(loaded, row)) :]
        return tuple(takewhile(lambda token: token not in loaded.ends, tokens))

    def most(self, loaded: Loaded) -> int:
        """As many for every model."""
        return WRITTEN

    def scored(self, own: dict[str, Any], same: float, loaded: Loaded, stored: Row, after: tuple[int, ...]) -> Written:
        """Nothing more than that: of many answers that are as good, one is given."""
        return Written(**own, same=same)

    def examine(self, loaded: Loaded, asked: Asked, findings: Findings) -> None:
        """Look for a collapse into repetition in what is written of the first images, which is shown."""
        self.look_at_written(
            loaded,
            asked,
            findings,
            "the answers'",
            lambda index, row: text_of(loaded, self.begins(loaded, row).tolist()),
        )


def prompt(processor: Any, text: str) -> str:
    """Return what a processor is given for a prompt about one image: by its chat template, or behind its token for images."""
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": text}]
        talk = [{"role": "user", "content": content}]
        return str(processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=True))
    token = str(getattr(processor, "image_token", ""))
    return text if token in text else f"{token} {text}"


TASK = ImageTextToText()
