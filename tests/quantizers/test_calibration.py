"""Rows of tokens from calibration text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from quantizers.calibration.text import read_rows
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
    rows = read_rows(Calibration(documents=documents, samples=1000, tokens=16), MODEL, 2048)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    joined = [token for text in TEXTS for token in tokenizer(text)["input_ids"]]
    assert rows.shape == (len(joined) // 16, 16)
    assert rows.flatten().tolist() == joined[: rows.numel()]


def test_the_seed_decides_which_rows_are_drawn(documents: Path) -> None:
    whole = read_rows(Calibration(documents=documents, samples=1000, tokens=16), MODEL, 2048).tolist()
    drawn = [read_rows(Calibration(documents=documents, samples=4, tokens=16, seed=s), MODEL, 2048) for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert [row for row in whole if row in drawn[0].tolist()] == drawn[0].tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "less than one row"),
        ('{"text": "short"}\n', "less than one row"),
        ('{"text": "fine"}\n{"body": "x"}\n', "line 2"),
        ('{"text": 3}\n', "line 1|not JSON Lines"),
        ("[]\n", "line 1|not JSON Lines"),
        ("not json\n", "JSON Lines|cannot be read"),
        ("\udcff", "JSON Lines|cannot be read"),
        (None, "JSON Lines|cannot be read"),
    ],
)
def test_text_that_cannot_be_read_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "documents.jsonl"
    if content is not None:
        path.write_text(content, "utf-8", errors="surrogateescape")
    with pytest.raises(QuantizeError, match=message):
        read_rows(Calibration(documents=path, samples=4, tokens=64), MODEL, 2048)


def test_a_tokenizer_of_another_model_is_refused(documents: Path) -> None:
    with pytest.raises(QuantizeError, match="different models"):
        read_rows(Calibration(documents=documents, samples=4, tokens=16), MODEL, 300)
