"""How much a set of documents holds: what local files begin with, or what such texts usually have."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from math import log
from pathlib import Path

from catalog.task import Column
from flows.errors import DocumentError
from flows.files.documents import besides, documents
from flows.manifest.texts import Texts

_LOOKED_AT = 64
"""Documents of a file that are looked at."""
_WIKITEXT = ((430,), 2891.0)
"""Characters of a document, and documents, of the default test split; other data sets are taken to be like it."""


def size_of(texts: Texts, tokens: int, most: int | None, vocabulary: int) -> tuple[int, float]:
    """Return the documents that are read, `most` at the most, and their tokens on the mean, each cut after `tokens`."""
    files = [_beginning(path, *_state(path), texts.column) for path in texts.files] or [_WIKITEXT]
    lengths = [length for beginning, _ in files for length in beginning]
    # English takes 2.8 characters a token with 2,048 tokens to choose from, 4 with 32,000.
    characters = 0.385 * log(max(vocabulary, 16))
    mean = sum(min(length / characters, tokens) for length in lengths) / max(len(lengths), 1)
    count = round(sum(count for _, count in files))
    return max(min(count, most or count), 1), mean


def rows_of(texts: Texts, column: Column, most: int | None) -> int:
    """Return how many rows that begin with a file there are, `most` at the most."""
    counts = [_count(path, *_state(path), column, texts.column) for path in texts.files] or [round(_WIKITEXT[1])]
    return max(min(sum(counts), most or sum(counts)), 1)


@lru_cache(maxsize=1024)
def _count(path: Path, size: int, mtime_ns: int, column: Column, key: str) -> int:
    try:
        return sum(1 for _ in besides(path, [(column, key)]))
    except (DocumentError, OSError):  # told of when they are fetched
        return round(_WIKITEXT[1])


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1024)
def _beginning(path: Path, size: int, mtime_ns: int, column: str) -> tuple[tuple[int, ...], float]:
    """Characters of a file's first documents, and how many it has; a file at fault is told of when it is fetched."""
    try:
        lengths = [len(text.encode()) for text in islice(documents(path, column), _LOOKED_AT)]
    except (DocumentError, OSError):
        return _WIKITEXT
    if len(lengths) < _LOOKED_AT:
        return tuple(lengths), float(len(lengths))
    return tuple(lengths), max(size / (sum(lengths) / len(lengths)), _LOOKED_AT)
