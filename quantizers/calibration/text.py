"""Calibration text as rows of tokens."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer

from catalog.foreign_errors import machine_fault
from quantizers.errors import QuantizeError
from quantizers.request import Calibration


def read_rows(calibration: Calibration, model: Path, vocabulary: int) -> Tensor:
    """Token ids int64 `[rows, tokens]`: the documents one after another, cut into rows, `samples` of them drawn.

    Raises:
        QuantizeError: the documents cannot be read or fill no row, or the tokenizer is missing or of another model.
    """
    documents = _documents(calibration.documents)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        ids = [token for text in documents for token in tokenizer(text, verbose=False)["input_ids"]]
    except (OSError, ValueError) as error:
        raise machine_fault(error) or QuantizeError(
            f"{model}: its tokenizer cannot be read ({str(error).splitlines()[0]}). Calibration needs one: save the "
            "model with its tokenizer, or use a recipe without transform and with nearest rounding."
        ) from error
    count = len(ids) // calibration.tokens
    if not count:
        raise QuantizeError(
            f"{calibration.documents}: {len(documents)} documents make {len(ids)} tokens, less than one row of "
            f"{calibration.tokens}. Give more text, or fewer tokens per row."
        )
    if max(ids) >= vocabulary:
        raise QuantizeError(
            f"{model}: the tokenizer makes token {max(ids)}, but the model knows {vocabulary}. "
            "Tokenizer and weights are of different models: fetch the model again."
        )
    return torch.tensor(ids[: count * calibration.tokens]).view(count, calibration.tokens)[drawn(count, calibration)]


def drawn(count: int, calibration: Calibration) -> Tensor:
    """Which of so many rows are read, int64 in their order: all, or `samples` of them."""
    if count <= calibration.samples:
        return torch.arange(count)
    chosen = torch.randperm(count, generator=torch.Generator().manual_seed(calibration.seed))[: calibration.samples]
    return chosen.sort().values


def _documents(path: Path) -> list[str]:
    texts = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                text = json.loads(line).get("text")
                if not isinstance(text, str):
                    raise QuantizeError(f'{path}, line {number}: no key "text" with a string. Give one on every line.')
                texts.append(text)
    except OSError as error:
        raise machine_fault(error) or QuantizeError(
            f"{path}: cannot be read ({error.strerror}). Name a JSON Lines file."
        ) from error
    except (ValueError, AttributeError) as error:
        raise QuantizeError(
            f'{path}: not JSON Lines ({error}). Give one object per line, with the key "text".'
        ) from error
    return texts
