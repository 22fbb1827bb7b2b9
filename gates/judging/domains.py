"""The domain that fares worst: a limit that holds over all documents may be broken in one kind of them.

Every domain must be within the limit by itself. That all are is said only when each says so, so each may take the whole risk
(an intersection-union test): a release that breaks the limit in one domain passes no more often than that one does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from gates.evidence import Document
from gates.results import GateVerdict

DOMAIN = ".domain"
"""How the names of such rows end."""
_RANK = {"passed": 0, "undecided": 1, "failed": 2}


def worst_domain(
    name: str, documents: Sequence[Document], over: Callable[[str, Sequence[Document]], Iterator[GateVerdict]]
) -> Iterator[GateVerdict]:
    """Judge each domain by itself, and yield for each limit the row of the one that fares worst.

    over: judges documents under a name. Documents without a domain are one of their own, unless none has any.
    """
    kinds: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        kinds[document.domain or "none"].append(document)
    if set(kinds) <= {"none"}:
        told = "no document says its domain: name the key that holds it, `evaluation: {columns: {domain: KEY}}`"
        yield GateVerdict(name=name + DOMAIN, outcome="failed", sentence=told)
        return
    rows: dict[str, list[tuple[str, GateVerdict]]] = defaultdict(list)
    for kind, own in sorted(kinds.items()):
        for verdict in over(name, own):
            rows[verdict.name].append((kind, verdict))
    for limit, candidates in rows.items():
        kind, verdict = max(candidates, key=lambda each: _harm(each[1]))
        assert verdict.shown
        shown = verdict.shown.model_copy(
            update={"label": f"{verdict.shown.label}, in {kind}, the worst of {len(kinds)} domains", "column": None}
        )
        sentence = f"in {kind}, the worst of {len(kinds)} domains, {verdict.sentence}"
        yield verdict.model_copy(update={"name": limit + DOMAIN, "shown": shown, "sentence": sentence})


def _harm(verdict: GateVerdict) -> tuple[int, float]:
    """How badly a domain fares: its outcome, then how far its unfavourable bound is beyond the limit."""
    if verdict.limit is None or verdict.value is None:
        return _RANK[verdict.outcome], 0.0
    sign = 1 if verdict.side == "at most" else -1
    bound = verdict.value if verdict.worst is None else verdict.worst
    return _RANK[verdict.outcome], sign * (bound - verdict.limit)
