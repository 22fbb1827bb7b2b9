"""What every card and page says of the scored documents, whatever the gates. Imports nothing heavy until it is asked."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.tasks import TASKS
from gates.evidence import CONFIDENCE, Document, Summary
from gates.spec import KINDS
from gates.statistics.estimate import Estimate


def summarize(documents: Sequence[Document], task: str) -> Summary | None:
    """Summarize scored documents by what is measured of a task; None when there are none."""
    if not documents:
        return None
    row = TASKS[task]
    # Rows without labels have no sums of the kinds that are about labels.
    kinds = [KINDS[name] for name in row.gates if KINDS[name].sums.keys() <= documents[0].sums.keys()]
    numbers = {name: number for kind in kinds for name, number in kind.numbers.items()}
    measures = {name: measure for kind in kinds for name, measure in kind.measures.items()}
    told: dict[str, float | Estimate | None] = {
        name: numbers[name](documents) for name in row.numbers if name in numbers
    }
    told |= {name: measures[name].over(documents, CONFIDENCE) for name in row.measures if name in measures}
    return Summary.model_validate({"tokens": sum(document.tokens for document in documents), **told})
