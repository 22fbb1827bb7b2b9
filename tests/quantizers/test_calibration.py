"""Rows of tokens from calibration text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from quantizers.calibration import rows_of
from quantizers.errors import QuantizeError
from quantizers.request import Calibration

MODEL = Path("manifests/demo/model")
TEXTS = [f"Return item {i} of the sequence, or raise IndexError when it has only {i * i} items." for i in range(40)]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), "utf-8")
    return path


def test_rows_are_the_joined_documents(documents: Path) -> None:
    rows = rows_of(Calibration(documents=documents, samples=1000, tokens=16), MODEL)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    joined = [token for text in TEXTS for token in tokenizer(text)["input_ids"]]
    assert rows.shape == (len(joined) // 16, 16)
    assert rows.flatten().tolist() == joined[: rows.numel()]


def test_the_seed_decides_which_rows_are_drawn(documents: Path) -> None:
    whole = rows_of(Calibration(documents=documents, samples=1000, tokens=16), MODEL).tolist()
    drawn = [rows_of(Calibration(documents=documents, samples=4, tokens=16, seed=s), MODEL) for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert [row for row in whole if row in drawn[0].tolist()] == drawn[0].tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "do not fill one row"),
        ('{"text": "short"}\n', "do not fill one row"),
        ('{"text": "fine"}\n{"body": "x"}\n', ":2: not an object"),
        ('{"text": 3}\n', ":1: not an object"),
        ("[]\n", ":1: not an object"),
        ("not json\n", "JSON Lines"),
        ("\udcff", "JSON Lines"),
        (None, "JSON Lines"),
    ],
)
def test_text_that_cannot_be_read_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "documents.jsonl"
    if content is not None:
        path.write_text(content, "utf-8", errors="surrogateescape")
    with pytest.raises(QuantizeError, match=message):
        rows_of(Calibration(documents=path, samples=4, tokens=64), MODEL)


def test_a_calibrated_recipe_without_text_is_refused() -> None:
    with pytest.raises(QuantizeError, match="calibration"):
        rows_of(None, MODEL)
