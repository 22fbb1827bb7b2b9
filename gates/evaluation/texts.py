"""Documents as JSON Lines. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path

from gates.errors import GateError


def read(path: Path) -> list[str]:
    """Return the `text` of every line of `path`, in order, each distinct text once.

    A text that occurs twice would count as two independent documents and make intervals too narrow, so later copies are
    left out. Raises `GateError` for a file that is missing, empty or not JSON Lines with the key `text`.
    """
    if not path.is_file():
        raise GateError(f"{path}: no such file. The texts to score are JSON Lines, one object per document.")
    texts: dict[str, None] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                texts[_text(path, number, line)] = None
    if not texts:
        raise GateError(f'{path}: holds no document. Give at least one line such as {{"text": "..."}}.')
    return list(texts)


def _text(path: Path, number: int, line: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise GateError(
            f"{path}:{number}: not JSON ({error.msg}). Every line is an object with the key text."
        ) from None
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise GateError(f"{path}:{number}: no string under the key text. Every line is one object with the key text.")
    return text
