"""The domain that fares worst: a limit that holds over all documents may be broken in one kind of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from gates.evidence import Document
from gates.judging.worst import worst
from gates.results import GateVerdict

DOMAIN = ".domain"
"""How the names of such rows end."""


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
        verdict = worst([(f"in {kind}", each) for kind, each in candidates], "domains")
        assert verdict.shown
        shown = verdict.shown.model_copy(update={"column": None})
        yield verdict.model_copy(update={"name": limit + DOMAIN, "shown": shown})
