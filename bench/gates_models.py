"""Damaged copies of the demo model, and both models' scores per document, for the benches of the gates."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from catalog.reading import rows as reading
from gates.clients.client import Loaded, load_original
from gates.evaluation import readers, scoring
from gates.evidence import Document
from gates.tasks import measured
from gates.tasks.contract import Asked

DEMO = Path(__file__).parents[1] / "manifests" / "demo"
TASK = measured("text-generation")


def rows(documents: int | None = None) -> list[torch.Tensor]:
    """Tokenize the demo's evaluation texts, 256 tokens each at most."""
    model = DEMO / "model"
    asked = Asked(model, readers.load(model, "text-generation").tokenizer, 256, model)
    data = reading.read(DEMO / "evaluation.jsonl")[:documents]
    return [row["ids"] for row in TASK.rows(data, asked) if row is not None]


def original() -> Loaded:
    """Load the demo model in float32."""
    return load_original(DEMO / "model", "text-generation")


def rounded(bits: int, group: int = 64, sound: Loaded | None = None) -> Loaded:
    """Return the demo model, or a copy of another, with every linear weight of its blocks rounded to a symmetric grid."""
    loaded = copy.deepcopy(sound) if sound else original()
    for weight in _weights(loaded):
        runs = weight.data.reshape(len(weight), -1, min(group, weight.shape[1]))
        scale = runs.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
        weight.data = ((runs / scale).round() * scale).reshape(weight.shape)
    return loaded


def noisy(share: float) -> Loaded:
    """Return the demo model with Gaussian noise of `share` of its standard deviation on every linear weight."""
    loaded, generator = original(), torch.Generator().manual_seed(0)
    for weight in _weights(loaded):
        weight.data = weight.data + share * weight.data.std() * torch.randn(weight.shape, generator=generator)
    return loaded


def _weights(loaded: Loaded) -> list[torch.Tensor]:
    """A head of its own stays as it is, as in most recipes."""
    head = loaded.model.get_output_embeddings()
    linears = (module for module in loaded.model.modules() if isinstance(module, torch.nn.Linear))
    return [linear.weight for linear in linears if linear is not head]


def scores(first: Loaded, second: Loaded, rows: list[torch.Tensor]) -> list[Document]:
    """Score every row with both models, through what a baseline stores."""
    return [score(index, ids, first.logits(ids), second.logits(ids)) for index, ids in enumerate(rows)]


def score(index: int, ids: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> Document:
    """Compare all logits of both models on a document."""
    return compared(index, first[:-1], second[:-1], ids[1:])


def compared(index: int, first: torch.Tensor, second: torch.Tensor, targets: torch.Tensor) -> Document:
    """Compare logits, (tokens, vocabulary), at the places of targets, int64 (tokens,)."""
    return TASK.document(index, scoring.compare(scoring.describe(first, targets, index), second, targets))
