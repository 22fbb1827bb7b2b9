"""Refuse evaluation rows that share content with those of calibration. Imports no torch.

A quantizer that has read the examination passes it. Equal files are the crude case; passages that occur in both are the
common one. Shared content is found by word n-grams (13 words, as in Brown et al. 2020, appendix C), which no two
independent texts share but for set phrases; so a few are tolerated and a passage or a tenth of a document is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from gates.errors import GateError
from gates.results import Overlap

WORDS = 13
"""Length of an n-gram; a shorter text is one n-gram."""
PASSAGE = 40
"""Words in a row that no document may share."""
SHARE = 0.1
"""Share of its n-grams that no document may have in common with the calibration text."""

# A Chinese or Japanese character counts as a word: those scripts put no spaces between words.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|\w+")

Hashes = NDArray[np.uint64]


Located = tuple[str, str]
"""Where a document is, for a person, and its text, or a digest of the file that it stands for."""


def overlap(calibration: Iterable[Located], evaluation: Iterable[Located]) -> Overlap:
    """Compare two sets of documents.

    Raises `GateError`, naming both documents and the passage, when one evaluation document shares `PASSAGE` words in a
    row or more than `SHARE` of its n-grams with the calibration text, or is found in it whole.
    """
    read = _distinct(calibration)
    ngrams = {text: _ngrams(_words(text)) for text in read}
    known = np.unique(np.concatenate([*ngrams.values(), np.empty(0, np.uint64)]))
    shares = []
    for text, where in _distinct(evaluation).items():
        words = _words(text)
        hashes = _ngrams(words)
        shared = _among(hashes, known)
        shares.append(float(shared.mean()) if len(shared) else 0.0)
        start, length = _longest(shared)
        if length and (length + WORDS - 1 >= PASSAGE or shares[-1] > SHARE):
            passage = " ".join(words[start : start + length + WORDS - 1])
            other = next(source for each, source in read.items() if np.isin(hashes[start], ngrams[each]))
            raise GateError(
                f"{where} shares {shares[-1]:.0%} of its text with calibration text ({other}), such as "
                f'"{passage[:120]}". A model judged on text it was calibrated on looks better than it is: take other '
                "text for one of the two."
            )
    return Overlap(documents=len(shares), touched=sum(share > 0 for share in shares), share=max(shares, default=0.0))


def twins(calibration: Iterable[Located], evaluation: Iterable[Located]) -> Overlap:
    """Compare two sets of files, each given by a digest of what it shows or how it sounds.

    Raises `GateError`, naming both, when one of evaluation is in calibration, too.
    """
    read, count = _distinct(calibration), 0
    for count, (where, digest) in enumerate(evaluation, 1):  # noqa: B007  counted
        if digest in read:
            raise GateError(
                f"{where} holds what a row of calibration ({read[digest]}) does, whatever the files are called. A model judged "
                "on what it was calibrated on looks better than it is: leave it out of one of the two."
            )
    return Overlap(documents=count, touched=0, share=0.0)


def _distinct(documents: Iterable[Located]) -> dict[str, str]:
    """Each text once, and where it is first."""
    first_seen: dict[str, str] = {}
    for where, text in documents:
        first_seen.setdefault(text, where)
    return first_seen


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _ngrams(words: list[str]) -> Hashes:
    """Hash every n-gram of a text, uint64 (words - WORDS + 1,); a shorter text gives one hash, an empty one none."""
    if not words:
        return np.empty(0, np.uint64)
    # Python's own string hash is salted per process; within one process it is all that is needed.
    hashes = np.array([hash(word) & 0xFFFFFFFFFFFFFFFF for word in words], dtype=np.uint64)
    length = min(WORDS, len(words))
    total = np.zeros(len(words) - length + 1, np.uint64)
    for offset in range(length):
        total = total * np.uint64(0x9E3779B97F4A7C15) + hashes[offset : offset + len(total)]
    return total


def _among(hashes: Hashes, known: Hashes) -> NDArray[np.bool_]:
    """Whether each hash occurs in `known`, which is sorted and may be empty."""
    if not len(known):
        return np.zeros(len(hashes), bool)
    return np.asarray(known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes)


def _longest(shared: NDArray[np.bool_]) -> tuple[int, int]:
    """Start and length of the longest run of shared n-grams; length 0 when there is none."""
    best = start = length = 0
    for is_shared, run in groupby(shared.tolist()):
        size = len(list(run))
        if is_shared and size > length:
            best, length = start, size
        start += size
    return best, length
