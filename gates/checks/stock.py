"""The stock loader as judge of an artifact that it cannot hold whole: what it says with the first blocks is what is streamed."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.utils import logging

from gates.clients import transformers
from gates.clients.client import Loaded
from gates.evaluation.lengths import STOCK_ROWS, STOCK_TOKENS
from gates.evidence import Check

NAME = "stock"
ROUNDINGS = 1.0
"""Steps of the dtype, relative, that logits may be apart by, root mean square. The same products are made of the same numbers:
those of the demo are equal to the last bit."""


def agrees(path: Path, loader: str, blocks: int, rows: Sequence[Tensor]) -> Check:
    """Load the first blocks with the stock loader, then stream them, and hold their logits against each other.

    Args:
        path: of the artifact.
        loader: full name of the stock class.
        blocks: how many the stock loader can hold.
        rows: token ids, int64 (tokens,) each.
    """
    from gates.clients import unpacked  # with the library that unpacks, which others do without

    beginnings = [row[:STOCK_TOKENS] for row in rows[:STOCK_ROWS]]
    real = pad_sequence([torch.ones_like(row) for row in beginnings], batch_first=True)
    # All at once: each reading of the weights unpacks all of them.
    given = {"input_ids": pad_sequence(beginnings, batch_first=True), "attention_mask": real}
    config = unpacked.cut(path, blocks)
    run, whole = (each.get_text_config().num_hidden_layers for each in (config, unpacked.cut(path, None)))
    theirs, method = _stock(path, loader, config, given)
    model = unpacked.load(path, loader, 0, run)
    if method != model.method:
        detail = f"{loader} loads with quantization {method or 'none'}, where {model.method} is streamed"
        return Check(name=NAME, passed=False, detail=detail)
    ours = _logits(model, given)
    del model
    gc.collect()
    apart = max(_apart(own[count], other[count]) for own, other, count in zip(ours, theirs, real.bool(), strict=True))
    steps = apart / torch.finfo(config.dtype or torch.float32).eps
    alike = steps <= ROUNDINGS
    said = f"{'gives' if alike else 'does not give'} the logits that are streamed"
    detail = f"{loader} with the first {run} of {whole} blocks {said}, {steps:.2g} steps of its dtype apart"
    return Check(name=NAME, passed=alike, detail=detail)


def _stock(path: Path, loader: str, config: object, given: Mapping[str, Tensor]) -> tuple[Tensor, str | None]:
    """Logits of the stock loader, and the quantization it loaded with."""
    verbosity = logging.get_verbosity()
    # It tells all tensors of the blocks that are left out.
    logging.set_verbosity_error()
    try:
        loaded = transformers.load(path, loader, "CPU", config=config)
    finally:
        logging.set_verbosity(verbosity)
    said, method = _logits(loaded, given), loaded.method
    del loaded
    gc.collect()  # hooks of its modules refer to these, so that its weights would stay for a while
    return said, method


def _logits(loaded: Loaded, given: Mapping[str, Tensor]) -> Tensor:
    """What is said of all rows, float32 (rows, tokens, vocabulary)."""
    return loaded.outputs(given)["logits"].float()


def _apart(ours: Tensor, theirs: Tensor) -> float:
    """Root mean square of a difference over that of the logits; infinite where one is no number."""
    apart = (ours - theirs).norm() / theirs.norm().clamp_min(torch.finfo(torch.float32).tiny)
    return float(apart) if torch.isfinite(apart) else torch.inf
