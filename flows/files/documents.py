"""Documents of local text files: JSON Lines, a JSON list, Parquet (one document a row), text (one a paragraph)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from catalog.errors import InputError


class DocumentError(InputError):
    """A data file that does not hold what its name and the manifest say; `str()` says what, where and what is allowed."""


def documents(path: Path, column: str) -> Iterator[str]:
    """Yield the documents of one file in order, empty ones left out. Raises DocumentError."""
    for _, text in located(path, column):
        yield text


def located(path: Path, column: str) -> Iterator[tuple[str, str]]:
    """Yield where each document of one file is, such as `a.jsonl:3`, and its text. Raises DocumentError."""
    try:
        for where, text in READERS[path.suffix](path, column):
            if text.strip():
                yield where, text
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path} is not UTF-8 text; save it in that encoding") from error


def _text_of(row: Any, column: str, where: str) -> str:
    if isinstance(row, dict) and isinstance(row.get(column), str):
        return str(row[column])
    if not isinstance(row, dict):
        raise DocumentError(
            f"{where}: holds a {type(row).__name__}; each document is an object with the key {column!r}"
        )
    if column in row:
        raise DocumentError(f"{where}: the value of {column!r} is no text but a {type(row[column]).__name__}")
    has = ", ".join(map(repr, row)) or "none"
    raise DocumentError(f"{where}: has no key {column!r}; its keys are {has}; name one of them with column")


def _jsonl(path: Path, column: str) -> Iterator[tuple[str, str]]:
    # Lines are split at \n alone: a document may hold U+2028 and the like.
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                where = f"{path}:{number}"
                yield where, _text_of(_parsed(line, where), column, where)


def _json(path: Path, column: str) -> Iterator[tuple[str, str]]:
    rows = _parsed(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(rows, list):
        raise DocumentError(f"{path} is not a list of objects; for one object a line, name the file .jsonl")
    for number, row in enumerate(rows, 1):
        where = f"{path}: document {number}"
        yield where, _text_of(row, column, where)


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{where}: is not JSON ({error})") from error


def _parquet(path: Path, column: str) -> Iterator[tuple[str, str]]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path)
    except ArrowInvalid as error:
        raise DocumentError(f"{path} is not a whole Parquet file ({error})") from error
    with file:
        if column not in file.schema_arrow.names:
            has = ", ".join(map(repr, file.schema_arrow.names))
            raise DocumentError(f"{path} has no column {column!r}; it has {has}")
        rows = (value for batch in file.iter_batches(columns=[column]) for value in batch.column(0).to_pylist())
        for number, value in enumerate(rows, 1):
            if value is not None:
                where = f"{path}: row {number}"
                yield where, _text_of({column: value}, column, where)


def _paragraphs(path: Path, column: str) -> Iterator[tuple[str, str]]:
    """Yield runs of lines that no blank line divides; `column` has no meaning here."""
    lines: list[str] = []
    number = 0
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                lines.append(line)
            elif lines:
                yield f"{path}:{number - len(lines)}", "".join(lines)
                lines = []
    yield f"{path}:{number + 1 - len(lines)}", "".join(lines)


READERS: dict[str, Callable[[Path, str], Iterator[tuple[str, str]]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".parquet": _parquet,
    ".txt": _paragraphs,
}
"""By suffix of the file's name."""
