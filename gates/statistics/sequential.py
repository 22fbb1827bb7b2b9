"""How many documents to score before each judgement, and what a judgement may then risk. Imports no torch."""

from __future__ import annotations

FIRST = 64


def interim_looks(available: int) -> tuple[int, ...]:
    """Return the numbers of documents at which to judge: 64, doubling, up to all `available`.

    The last step but one is left out when it would come within a factor 1.5 of the end.
    """
    sizes = [available]
    size = FIRST
    while size * 1.5 <= available:
        sizes.insert(-1, size)
        size *= 2
    return tuple(sizes)


def confidence_at(look: tuple[int, ...], available: int, confidence: float) -> float:
    """Return the one-sided confidence that the last of the looks `look` must reach.

    Judging several times until it passes would wave a bad model through more often than once in twenty. The risk
    1 - confidence is therefore divided among the looks in proportion to the documents each adds (a Bonferroni form of
    alpha spending, Lan and DeMets 1983), which holds whatever the dependence between looks. One look at everything
    spends it all.
    """
    added = look[-1] - (look[-2] if len(look) > 1 else 0)
    return 1 - (1 - confidence) * added / available
