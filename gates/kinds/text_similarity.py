"""Gate `text_similarity`: whether the artifact, left to itself, says what means the same.

The similarity of who-what-benchmark, by its published definition: the cosine of a sentence encoder's embeddings of what both
models continue a prompt with, greedily, on average over prompts. Its encoder is all-mpnet-base-v2 unless another is named; here
a manifest names a directory, and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from gates.evidence import Document, Evidence
from gates.judging.fraction import Fraction
from gates.judging.gate import MeasuredGate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.estimate import Estimate

NAME = "text_similarity"
_WORDING = Wording(
    side="at least",
    words="similarity of greedy continuations",
    number="{:.4f}",
    label="Similarity of greedy continuations (who-what-benchmark)",
    figure="{:.4f}",
    unit="continuations",
    column="WWB ≥",
    cell="{worst:.3f}",
)


class Continuations(BaseModel):
    """Which texts are compared, and by what: part of the key of everything scored with them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: str = Field(min_length=1)
    """The sentence encoder: a directory relative to the manifest, in the layout of sentence-transformers or of transformers."""
    prompts: int = Field(48, ge=8, le=1024)
    """Beginnings of evaluation documents that are continued, at the most."""


class TextSimilarity(Continuations, MeasuredGate):
    """Cosine of the embeddings of what both models continue a prompt with, greedily."""

    settings: ClassVar[type[BaseModel]] = Continuations
    directories = ("model",)
    generates = True

    min_similarity: Fraction = Field(0.9, gt=0, lt=1)
    """On average over prompts."""

    def judge(self, name: str, evidence: Evidence, confidence: float) -> Iterator[GateVerdict]:
        """Judge the mean over prompts."""
        yield row(name, _WORDING, similarity(evidence.measured.get(NAME, ()), confidence), self.min_similarity)


def similarity(texts: Sequence[Document], confidence: float) -> Estimate | None:
    """Estimate the mean similarity over prompts; None without any.

    That all texts are the same is no proof that all others are: as many may be unlike as the exact binomial bound leaves.
    """
    if not texts:
        return None
    from gates.statistics.intervals import estimate
    from gates.statistics.shares import share

    if all(text.sums["same"] for text in texts):
        other = share([0.0] * len(texts), [1] * len(texts), confidence)
        low = None if other is None or other.high is None else 1 - other.high
        return Estimate(value=1.0, low=low, high=1.0, confidence=confidence, documents=len(texts))
    return estimate([text.sums["similarity"] for text in texts], [1.0] * len(texts), confidence)


def divergence(original: Sequence[int], artifact: Sequence[int]) -> tuple[int, int]:
    """Return FDT and SDT of who-what-benchmark, of the token ids of two texts.

    FDT: tokens before the first that diverges. SDT: tokens of the artifact's that are in no block that both have in common, as
    `difflib` finds these, and so would have to be corrected.
    """
    blocks = SequenceMatcher(None, original, artifact).get_matching_blocks()
    first = blocks[0]
    return first.size if first.a == first.b == 0 else 0, len(artifact) - sum(block.size for block in blocks)


def told(texts: Sequence[Document]) -> Mapping[str, float]:
    """Return what who-what-benchmark prints of a pair of models, under its names; empty without texts.

    FDT norm is over the mean length of the original's texts, SDT norm the mean share of the artifact's tokens.
    """
    if not texts or "fdt" not in texts[0].sums:
        return {}
    mean = {name: sum(text.sums[name] for text in texts) / len(texts) for name in texts[0].sums}
    corrected = [text.sums["sdt"] / text.sums["tokens"] if text.sums["tokens"] else 0.0 for text in texts]
    return {
        "similarity": mean["similarity"],
        "FDT": mean["fdt"],
        "FDT norm": mean["fdt"] / mean["tokens_original"] if mean["tokens_original"] else 0.0,
        "SDT": mean["sdt"],
        "SDT norm": sum(corrected) / len(corrected),
    }
