"""Trained models of several shapes and families, the demo's and those that tests train, each with text to score and a task."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from bench.gates_models import TASK, original, rows
from gates.clients.client import Loaded, load_original
from gates.evaluation import readers, scoring
from gates.evidence import Document
from gates.tasks import measured
from gates.tasks.contract import Asked
from tests import encoders, recallers, translators

CHOICES, PASSAGE, PLACES = 4, 24, (32, 64, 96)
"""Passages to choose from, tokens of each, and where in a document they begin."""
RECALL = (256, 12)
"""Tokens of a row, and facts in it."""


@dataclass(frozen=True)
class Trained:
    """A model, and what it is asked."""

    name: str
    task: str
    loaded: Loaded
    logits: Callable[[Loaded], Iterator[Tensor]]
    """Yields a model's logits at the positions of each document, (tokens, vocabulary)."""
    targets: Sequence[Tensor]
    """int64 (tokens,) of each document."""
    answers: Callable[[Loaded], Iterator[float]]
    """Yields 1 for each item of the task that a model gets right, else 0; items are independent."""

    @cached_property
    def described(self) -> list[scoring.Row]:
        """What a baseline stores of every document."""
        both = zip(self.logits(self.loaded), self.targets, strict=True)
        return [scoring.describe(logits, targets, index) for index, (logits, targets) in enumerate(both)]

    def scores(self, damaged: Loaded) -> list[Document]:
        """Compare a damaged copy on every document."""
        both = enumerate(zip(self.described, self.logits(damaged), self.targets, strict=True))
        return [TASK.document(index, scoring.compare(row, logits, targets)) for index, (row, logits, targets) in both]


def models(items: int) -> Iterator[Trained]:
    """Yield each; with `items` of its task at the most."""
    with tempfile.TemporaryDirectory() as directory:
        yield classifying(Path(directory, "classifier"), items)
        yield translating(Path(directory, "translator"), items)
        yield recalling(Path(directory, "recaller"), items)
    yield continuing("Llama (the demo)", original(), rows(), items)


def continuing(name: str, loaded: Loaded, texts: list[Tensor], items: int) -> Trained:
    """The task is to tell how a document goes on: of four passages, the true one and three from other documents at the same
    place, the model takes the likeliest."""
    asked = _passages(texts, items)

    @torch.inference_mode()
    def answers(model: Loaded) -> Iterator[float]:
        for choices, begins in asked:
            logprobs = model.model(choices).logits[:, begins - 1 : -1].float().log_softmax(-1)
            likelihood = logprobs.gather(-1, choices[:, begins:, None]).sum((1, 2))
            yield float(likelihood.argmax() == 0)

    return Trained(name, "how a text goes on", loaded, _next(texts), [ids[1:] for ids in texts], answers)


def recalling(directory: Path, items: int) -> Trained:
    """The task is to say what a row of 256 tokens said of the first of twelve keys that are asked for."""
    recallers.recaller(directory)
    loaded, words, rng = load_original(directory, "text-generation"), recallers.tokenizer(), random.Random(2)
    texts = [torch.tensor(words(row["text"])["input_ids"]) for row in recallers.texts(120, 31)]
    known = [words(row["text"])["input_ids"] for row in recallers.texts(120, 37)]
    asked = [torch.tensor(recallers.row(words, known, rng, *RECALL)) for _ in range(items)]
    value = RECALL[0] - recallers.FACT * RECALL[1] + recallers.FACT - 2

    def answers(model: Loaded) -> Iterator[float]:
        for ids in asked:
            yield float(model.logits(ids[:value])[-1].argmax() == ids[value])

    return Trained("Llama (recalls)", "a fact, far back", loaded, _next(texts), [ids[1:] for ids in texts], answers)


def translating(directory: Path, items: int) -> Trained:
    """The task is to translate a sentence without one mistake."""
    translators.translator(directory)
    loaded, task = load_original(directory, "text2text-generation"), measured("text2text-generation")
    asked = Asked(directory, translators.tokenizer(), 64, directory)
    made = [row for row in task.rows(translators.rows(items, 7), asked) if row is not None]

    def logits(model: Loaded) -> Iterator[Tensor]:
        return (task.logits(model, row) for row in made)  # type: ignore[attr-defined]

    def answers(model: Loaded) -> Iterator[float]:
        for row in made:
            yield float(list(task.write(model, row)) == row["targets"].tolist()[:-1])  # type: ignore[attr-defined]

    return Trained("T5", "a translation", loaded, logits, [row["targets"] for row in made], answers)


def classifying(directory: Path, items: int) -> Trained:
    """The task is to tell a sentence's topic, of six."""
    encoders.classifier(directory)
    loaded, task = load_original(directory, "text-classification"), measured("text-classification")
    asked = Asked(directory, readers.load(directory, "text-classification").tokenizer, 64, directory)
    data = [
        {"text": text, "label": list(encoders.TOPICS).index(topic)} for text, topic in encoders.sentences(items, 41)
    ]
    made = [row for row in task.rows(data, asked) if row is not None]

    def logits(model: Loaded) -> Iterator[Tensor]:
        return (task.logits(model, row) for row in made)  # type: ignore[attr-defined]

    def answers(model: Loaded) -> Iterator[float]:
        return (float(said[0].argmax() == row["targets"][0]) for said, row in zip(logits(model), made, strict=True))

    return Trained("BERT", "a topic, of six", loaded, logits, [row["targets"].long() for row in made], answers)


def _next(texts: list[Tensor]) -> Callable[[Loaded], Iterator[Tensor]]:
    return lambda model: (model.logits(ids)[:-1] for ids in texts)


def _passages(texts: list[Tensor], most: int) -> list[tuple[Tensor, int]]:
    """Return rows to choose from, (CHOICES, tokens), the true one first, and where the passage begins."""
    generator, made = torch.Generator().manual_seed(0), []
    for begins in PLACES:
        fit = [text for text in texts if len(text) >= begins + PASSAGE]
        for index, text in enumerate(fit):
            others = torch.randperm(len(fit) - 1, generator=generator)[: CHOICES - 1]
            chosen = [text, *(fit[int(other) + (int(other) >= index)] for other in others)]
            ends = torch.stack([each[begins : begins + PASSAGE] for each in chosen])
            made.append((torch.cat([text[:begins].expand(CHOICES, -1), ends], 1), begins))
    return made[:most]
