"""What cards show of the measurements of tasks: one row a quantity."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Quantity:
    """One row of a card's table of measurements: an estimate of the summary, and what it is of both models."""

    name: str
    """Of the estimate."""
    words: str
    """`{where}` is filled in where the same is measured in more than one way."""
    style: str
    """Format of the estimate."""
    original: str
    """Of the original: words, or the name in braces, with its format, of a number of the summary."""
    own: str = ""
    """Of the artifact; where it is empty, the estimate stands there, else it stands as the change."""
    labelled: bool = False
    """Whether it is absent where rows have no labels."""
    metric: tuple[str, str, str] | None = None
    """Of the Hub's results: type and name, and the number or estimate of the summary."""


DIVERGENCE = Quantity(
    "kld",
    "KL divergence from the original{where}, nats per token",
    "{:.5f}",
    original="0",
    metric=("kl_divergence", "KL divergence from the original (nats per token)", "kld"),
)
AGREEMENT = Quantity(
    "agreement",
    "Same first choice as the original (top-1){where}",
    "{:.2%}",
    original="100%",
    metric=("top1_agreement", "Top-1 agreement with the original", "agreement"),
)
FLIPS = Quantity("flips", "Choices that turned right or wrong{where}", "{:.2%}", original="0%")

PERPLEXITY = Quantity(
    "increase",
    "Perplexity{where}",
    "{:+.2%}",
    original="{perplexity_original:.4f}",
    own="{perplexity:.4f}",
    metric=("perplexity", "Perplexity", "perplexity"),
)
ROW_DIVERGENCE = replace(DIVERGENCE, words="KL divergence from the original, nats per choice")
ROW_AGREEMENT = replace(AGREEMENT, words="Same choice as the original")
ACCURACY = Quantity(
    "accuracy",
    "Accuracy",
    "{:.2%}",
    original="{accuracy_original:.2%}",
    labelled=True,
    metric=("accuracy", "Accuracy", "accuracy"),
)
F1 = Quantity("f1", "F1", "{:.4f}", original="{f1_original:.4f}", labelled=True, metric=("f1", "F1", "f1"))
SAME = Quantity("same", "Same answers as the original", "{:.2%}", original="100%")
ORDERED = Quantity("ordered", "Pairs of rows in the original's order", "{:.2%}", original="100%", labelled=True)
WER = Quantity(
    "wer",
    "Word error rate against the transcripts",
    "{:.2%}",
    original="{wer_original:.2%}",
    labelled=True,
    metric=("wer", "WER", "wer"),
)
CHRF = Quantity(
    "chrf",
    "chrF against the targets",
    "{:.2f}",
    original="{chrf_original:.2f}",
    labelled=True,
    metric=("chrf", "chrF", "chrf"),
)
COSINE = Quantity(
    "cosine",
    "Cosine to the original's embedding",
    "{:.5f}",
    original="1",
    metric=("cosine", "Cosine to the original's embedding", "cosine"),
)
OVERLAP = Quantity(
    "overlap",
    "Ten nearest that stay so",
    "{:.2%}",
    original="100%",
    metric=("neighbour_overlap", "Overlap of the ten nearest with the original's", "overlap"),
)
CORRELATION = Quantity("correlation", "Rank correlation of similarities with the original's", "{:.4f}", original="1")

WRITTEN = (PERPLEXITY, DIVERGENCE, AGREEMENT, FLIPS)
"""Of what models write, token by token."""
CHOSEN = (ROW_DIVERGENCE, ROW_AGREEMENT, ACCURACY)
"""Of what they choose, once for a row."""
EMBEDDED = (COSINE, OVERLAP, CORRELATION)
"""Of the vectors they give."""
