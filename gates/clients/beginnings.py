"""The first blocks of an artifact, run by transformers as it loads them, and as they are streamed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig
from transformers.utils import logging

from catalog.processes import return_freed_memory
from gates.clients import streamed, transformers
from gates.clients.client import Beginning, Loaded


def compared(
    path: Path, loader: str, blocks: int, rows: Sequence[Tensor], stream: Callable[[int], streamed.Model]
) -> Beginning:
    """As `Streamer.first_blocks`: what the stock loader holds of them, then what is streamed, is asked for logits.

    stream: opens so many blocks.
    """
    return_freed_memory()
    real = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    # All at once: each reading of the weights brings all of them.
    given = {"input_ids": pad_sequence(list(rows), batch_first=True), "attention_mask": real}
    config = cut(path, blocks)
    run, whole = (each.get_text_config().num_hidden_layers for each in (config, cut(path, None)))
    theirs, method = _stock(path, loader, config, given)
    model = stream(run)
    which, what = f"the first {run} of {whole} blocks", "logits"
    if method != model.method:
        fault = f"loads with quantization {method or 'none'}, where {model.method} is streamed"
        return Beginning(which, what, (), (), fault)
    ours = _logits(model, given)
    del model
    gc.collect()
    theirs_, ours_ = ([row[count] for row, count in zip(each, real.bool(), strict=True)] for each in (theirs, ours))
    return Beginning(which, what, theirs_, ours_)


def _stock(path: Path, loader: str, config: Any, given: Mapping[str, Tensor]) -> tuple[Tensor, str | None]:
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
    """What is said of all rows, (rows, tokens, vocabulary)."""
    return loaded.outputs(given)["logits"]


def cut(path: Path, blocks: int | None) -> Any:
    """Return a model's configuration, with its first blocks alone; None: all of them."""
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    text = config.get_text_config()
    if blocks is None or blocks >= text.num_hidden_layers:
        return config
    # Whatever says something of each block, such as `layer_types`.
    for name, value in vars(text).items():
        if isinstance(value, list) and len(value) == text.num_hidden_layers:
            setattr(text, name, value[:blocks])
    text.num_hidden_layers = blocks
    return config
