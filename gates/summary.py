"""What every card and page says of the scored documents, whatever the gates. Imports nothing heavy until it is asked."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.tasks import TASKS
from gates.evidence import CONFIDENCE, Document, Summary
from gates.kinds.agreement import FLIPS, TOP1
from gates.kinds.divergence import KLD
from gates.kinds.perplexity import INCREASE, LOSS_CHANGE, perplexity
from gates.statistics.measures import Measure

MEASURES: dict[str, Measure] = {
    "increase": INCREASE,
    "loss_change": LOSS_CHANGE,
    "kld": KLD,
    "agreement": TOP1,
    "flips": FLIPS,
}
"""Fields of `Summary` that have bounds."""


def summarize(documents: Sequence[Document], task: str) -> Summary | None:
    """Summarize scored documents by the measures of a task; None when there are none."""
    if not documents:
        return None
    return Summary(
        tokens=sum(document.tokens for document in documents),
        perplexity_original=perplexity(documents, "loss_original"),
        perplexity=perplexity(documents, "loss"),
        **{name: MEASURES[name].over(documents, CONFIDENCE) for name in TASKS[task].measures},
    )
