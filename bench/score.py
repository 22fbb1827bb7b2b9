"""How far a quantized model is from the original, on held-out rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.models import DEMO
from quantizers.calibration.text import read_rows
from quantizers.hardware.compute_dtype import fastest
from quantizers.request import Calibration

ROWS = 64
TOKENS = 256
"""Rows of text, and tokens a row."""

Logits = Callable[[Tensor], Tensor]
"""Token ids int64 [1, tokens] to logits float32 [1, tokens, vocabulary]."""


def calibration(samples: int) -> Calibration:
    """Of the demo's calibration text."""
    return Calibration(documents=DEMO / "calibration.jsonl", samples=samples, tokens=TOKENS, compute=fastest("cpu"))


def rows_of(which: str, model: Path, samples: int = ROWS) -> Tensor:
    """int64 [samples, tokens] of the demo's `calibration` or `evaluation` text."""
    texts = Calibration(documents=DEMO / f"{which}.jsonl", samples=samples, tokens=TOKENS)
    return read_rows(texts, model, AutoTokenizer.from_pretrained(model).vocab_size)


def torch_logits(model: torch.nn.Module) -> Logits:
    def logits(row: Tensor) -> Tensor:
        with torch.no_grad():
            values: Tensor = model(row, use_cache=False).logits
        return values.float()

    return logits


def loaded(directory: Path) -> torch.nn.Module:
    """A model or an artifact through the stock loader, computing in float32."""
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return model.eval()


def score(original: Path, logits: Logits) -> dict[str, float]:
    """KL divergence from the original (nats a token), perplexity of both, share of equal first choices."""
    reference = torch_logits(loaded(original))
    sums = dict.fromkeys(("kld", "nll", "original_nll", "top1"), 0.0)
    rows = rows_of("evaluation", original)
    for row in rows:
        p, q = reference(row[None]).log_softmax(-1)[0], logits(row[None]).log_softmax(-1)[0]
        sums["kld"] += float((p.exp() * (p - q)).sum(-1).double().sum())
        sums["top1"] += float((p.argmax(-1) == q.argmax(-1)).double().sum())
        for key, logs in (("nll", q), ("original_nll", p)):
            sums[key] -= float(logs[:-1].gather(-1, row[1:, None]).double().sum())
    predicted = rows.shape[0] * (rows.shape[1] - 1)
    return {
        "kld": sums["kld"] / rows.numel(),
        "top1": sums["top1"] / rows.numel(),
        "perplexity": float(torch.tensor(sums["nll"] / predicted).exp()),
        "original_perplexity": float(torch.tensor(sums["original_nll"] / predicted).exp()),
    }
