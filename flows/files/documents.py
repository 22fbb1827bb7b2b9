"""Documents of local text files: JSON Lines, a JSON list, Parquet (one document a row), text (one a paragraph)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from catalog.task import Column
from flows.errors import DocumentError
from flows.files.beside import Beside, beside

WORDS = Column("words", kind="texts")


def documents(path: Path, column: str) -> Iterator[str]:
    """Yield the documents of one file in order, empty ones left out. Raises DocumentError."""
    for _, text in located(path, column):
        yield text


def located(path: Path, column: str) -> Iterator[tuple[str, str]]:
    """Yield where each document of one file is, such as `a.jsonl:3`, and its text. Raises DocumentError."""
    for where, row in _located(path, (column,)):
        if (text := _text_of(row, column, where)).strip():
            yield where, text


def rows(path: Path, columns: Sequence[tuple[Column, str]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of one file in order, those whose first value is an empty text left out.

    columns: each with the key that rows hold it under; a value of one that stands for a file is a `Beside`.
    Raises DocumentError.
    """
    for where, row in _located(path, tuple(key for _, key in columns)):
        values = picked(row, columns, where, path.parent)
        first = next(iter(values.values()))
        if not isinstance(first, str) or first.strip():
            yield values


def picked(row: Any, columns: Sequence[tuple[Column, str]], where: str, base: Path | None = None) -> dict[str, Any]:
    """Return the values of a row under their columns' own names. Raises DocumentError.

    base: directory that names of files are relative to; None: the row is of a data set.
    """
    values = {}
    for column, key in columns:
        if isinstance(row, dict) and row.get(key) is None and not column.required:
            continue
        values[column.name] = _value_of(row, column, key, where, base)
    return values


def besides(path: Path, columns: Sequence[tuple[Column, str]]) -> Iterator[tuple[Column, Beside]]:
    """Yield the files that rows of one file stand for, row by row. Raises DocumentError."""
    if any(column.is_file for column, _ in columns):
        kinds = {column.name: column for column, _ in columns}
        for row in rows(path, columns):
            yield from ((kinds[name], value) for name, value in row.items() if isinstance(value, Beside))


def _value_of(row: Any, column: Column, key: str, where: str, base: Path | None) -> Any:
    if column.kind == "text":
        return _text_of(row, key, where)
    value = row.get(key) if isinstance(row, dict) else None
    if column.is_file and value is not None:
        return beside(value, key, base, where)
    if not column.fits(value):
        held = f"a {type(value).__name__}" if value is not None else "nothing"
        raise DocumentError(f"{where}: {key!r} is to hold a {column.words}, and holds {held}")
    return value


def _located(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    try:
        yield from READERS[path.suffix](path, columns)
    except UnicodeDecodeError as error:
        raise DocumentError(f"{path} is not UTF-8 text; save it in that encoding") from error


def _text_of(row: Any, column: str, where: str) -> str:
    if isinstance(row, dict) and isinstance(row.get(column), str):
        return str(row[column])
    if isinstance(row, dict) and WORDS.fits(row.get(column)):
        return " ".join(row[column])
    if not isinstance(row, dict):
        raise DocumentError(
            f"{where}: holds a {type(row).__name__}; each document is an object with the key {column!r}"
        )
    if column in row:
        raise DocumentError(f"{where}: the value of {column!r} is no text but a {type(row[column]).__name__}")
    has = ", ".join(map(repr, row)) or "none"
    raise DocumentError(f"{where}: has no key {column!r}; its keys are {has}; name one of them with column")


def _jsonl(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    # Lines are split at \n alone: a document may hold U+2028 and the like.
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                where = f"{path}:{number}"
                yield where, _parsed(line, where)


def _json(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    parsed = _parsed(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(parsed, list):
        raise DocumentError(f"{path} is not a list of objects; for one object a line, name the file .jsonl")
    for number, row in enumerate(parsed, 1):
        yield f"{path}: document {number}", row


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{where}: is not JSON ({error})") from error


def _parquet(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path)
    except ArrowInvalid as error:
        raise DocumentError(f"{path} is not a whole Parquet file ({error})") from error
    with file:
        present = file.schema_arrow.names
        if columns[0] not in present:
            raise DocumentError(f"{path} has no column {columns[0]!r}; it has {', '.join(map(repr, present))}")
        batches = file.iter_batches(columns=[column for column in columns if column in present])
        for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), 1):
            if row[columns[0]] is not None:
                yield f"{path}: row {number}", row


def _paragraphs(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield runs of lines that no blank line divides, as the first of the columns."""
    lines: list[str] = []
    number = 0
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                lines.append(line)
            elif lines:
                yield f"{path}:{number - len(lines)}", {columns[0]: "".join(lines)}
                lines = []
    yield f"{path}:{number + 1 - len(lines)}", {columns[0]: "".join(lines)}


READERS: dict[str, Callable[[Path, tuple[str, ...]], Iterator[tuple[str, Any]]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".parquet": _parquet,
    ".txt": _paragraphs,
}
"""By suffix of the file's name."""
