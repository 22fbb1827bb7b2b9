"""Rows of calibration and evaluation as JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalog.errors import InputError
from catalog.task import TEXT, Column


def read(path: Path, columns: Sequence[Column] = (TEXT,)) -> list[dict[str, Any]]:
    """Return the values of `columns` of every line of `path`, in order, each distinct row once.

    A row that occurs twice would count as two independent ones and make intervals too narrow, so later copies are
    left out. The value of a column that stands for a file is its path. Raises `InputError` for a file that is missing,
    empty or not JSON Lines with the columns.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. The texts to score are JSON Lines, one object per document.")
    rows: dict[str, dict[str, Any]] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                row = _row(path, number, line, columns)
                rows.setdefault(json.dumps(row, sort_keys=True), row)
    if not rows:
        example = json.dumps({column.name: "..." for column in columns if column.required})
        raise InputError(f"{path}: holds no document. Give at least one line such as {example}.")
    named = [column.name for column in columns if column.is_file]
    return [row | {name: path.parent / row[name] for name in named if name in row} for row in rows.values()]


def strings(row: dict[str, Any]) -> list[str]:
    """Return the texts of a row."""
    values = [value for value in row.values() if isinstance(value, str | list)]
    return [
        text for value in values for text in ([value] if isinstance(value, str) else value) if isinstance(text, str)
    ]


def _row(path: Path, number: int, line: str, columns: Sequence[Column]) -> dict[str, Any]:
    keys = " and ".join(column.name for column in columns if column.required)
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{number}: not JSON ({error.msg}). Every line is an object with the key {keys}."
        ) from None
    values = {}
    for column in columns:
        value = row.get(column.name) if isinstance(row, dict) else None
        if value is None and not column.required:
            continue
        if not column.fits(value):
            kind = column.words
            raise InputError(
                f"{path}:{number}: no {kind} under the key {column.name}. Every line is one object with the key {keys}."
            )
        values[column.name] = value
    return values
