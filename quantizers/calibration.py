"""Text in, rows of tokens out: what the calibrated recipes read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer

from quantizers.errors import QuantizeError
from quantizers.request import Calibration


def rows_of(calibration: Calibration | None, model: Path) -> Tensor:
    """Token ids int64 `[samples, tokens]` of the calibration text, tokenized by the tokenizer in `model`.

    Documents are tokenized one by one (with the special tokens their tokenizer adds), joined, and cut into rows; a
    remainder shorter than a row is dropped. Of more rows than `samples`, those are drawn that `seed` picks, in the
    order of the text.

    Raises:
        QuantizeError: there is no calibration, the file is not JSON Lines with the key `text`, or it does not fill
            a row.
    """
    if calibration is None:
        raise QuantizeError(
            "a recipe with transform awq or teq, or with compensated rounding, reads calibration text, and the request "
            "has none. Give `calibration`, or use a recipe that reads no text."
        )
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    ids: list[int] = []
    for text in _documents(calibration.documents):
        ids.extend(tokenizer(text, verbose=False)["input_ids"])
    whole = len(ids) // calibration.tokens
    if whole == 0:
        raise QuantizeError(
            f"{calibration.documents}: {len(ids)} tokens of text do not fill one row of {calibration.tokens}. "
            "Add documents, or ask for fewer tokens a row."
        )
    rows = torch.tensor(ids[: whole * calibration.tokens]).reshape(whole, calibration.tokens)
    if whole <= calibration.samples:
        return rows
    drawn = torch.randperm(whole, generator=torch.Generator().manual_seed(calibration.seed))
    return rows[drawn[: calibration.samples].sort().values]


def _documents(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                document = json.loads(line)
                if not isinstance(document, dict) or not isinstance(document.get("text"), str):
                    raise QuantizeError(
                        f"{path}:{number}: not an object with a string under `text`. Calibration is JSON Lines, one "
                        'document per line: {"text": "..."}.'
                    )
                yield document["text"]
    except (OSError, ValueError) as error:
        if isinstance(error, QuantizeError):
            raise
        raise QuantizeError(f"{path}: cannot be read as JSON Lines ({error}).") from error
