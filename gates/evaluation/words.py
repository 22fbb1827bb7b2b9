"""Words of a transcript that are wrong: the least edits, each a word put in, left out or taken for another (Levenshtein 1966)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np


@dataclass(frozen=True)
class WordErrors:
    """Of one text against another."""

    errors: float
    words: float
    """Of the one that is true."""


def word_errors(reference: str, written: str) -> WordErrors:
    """Count them, blind to case and punctuation (transformers' `BasicTextNormalizer`, which is Whisper's own)."""
    true, said = (_normalizer()(text).split() for text in (reference, written))
    return WordErrors(float(edits(true, said)), float(len(true)))


def edits(true: list[str], said: list[str]) -> int:
    """Return the least number of words to put in, leave out or exchange to make one list of the other."""
    known = {word: number for number, word in enumerate(dict.fromkeys(true + said))}
    row, columns = np.array([known[word] for word in said], dtype=np.int64), np.arange(len(said) + 1)
    least = columns.copy()
    for number, word in enumerate(true, 1):
        kept = np.minimum(least[1:] + 1, least[:-1] + (row != known[word]))
        # A word that is put in costs one more than the place before it: a running minimum along the row.
        least = np.minimum.accumulate(np.concatenate([[number], kept]) - columns) + columns
    return int(least[-1])


@cache
def _normalizer() -> Any:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    return BasicTextNormalizer()
