"""Damaged copies of the demo model, and both models' scores per document, for the benches of the gates."""

from __future__ import annotations

from pathlib import Path

import torch

from gates.clients.client import Loaded, load_original
from gates.evaluation import scoring
from gates.evaluation.baseline import load_tokenizer, rows_of
from gates.evidence import Document
from gates.request import Evaluation

DEMO = Path(__file__).parents[1] / "manifests" / "demo"


def rows(documents: int | None = None) -> list[torch.Tensor]:
    """Tokenize the demo's evaluation texts, 256 tokens each at most."""
    evaluation = Evaluation(documents=DEMO / "evaluation.jsonl", tokens=256, max_documents=documents)
    return rows_of(evaluation, load_tokenizer(DEMO / "model"))


def original() -> Loaded:
    """Load the demo model in float32."""
    return load_original(DEMO / "model", "text-generation")


def rounded(bits: int, group: int = 64) -> Loaded:
    """Return the demo model with every linear weight rounded to a symmetric grid."""
    loaded = original()
    for weight in _weights(loaded):
        runs = weight.data.reshape(len(weight), -1, group)
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
    return [module.weight for module in loaded.model.model.modules() if isinstance(module, torch.nn.Linear)]


def scores(first: Loaded, second: Loaded, texts: list[torch.Tensor]) -> list[Document]:
    """Score every row with both models, through what a baseline stores."""
    return [
        scoring.compare(index, scoring.describe(ids, first.logits(ids), index), second.logits(ids))
        for index, ids in enumerate(texts)
    ]
