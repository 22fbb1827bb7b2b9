"""The case that fares worst, of several that must all be within one limit.

Each must be within it by itself. That all are is said only when each says so, so each may take the whole risk (an
intersection-union test): a release that breaks the limit in one case passes no more often than that one does.
"""

from __future__ import annotations

from collections.abc import Sequence

from gates.results import GateVerdict

_RANK = {"passed": 0, "undecided": 1, "failed": 2}


def worst(cases: Sequence[tuple[str, GateVerdict]], plural: str) -> GateVerdict:
    """Return the row of the case that fares worst, with words that say which it is.

    cases: where each is, such as `in code`, with its row; plural: what they are. No word is added to a case without a name.
    """
    case, verdict = max(cases, key=lambda each: _harm(each[1]))
    assert verdict.shown
    if not case:
        return verdict
    told = f"{case}, the worst of {len(cases)} {plural}" if len(cases) > 1 else case
    shown = verdict.shown.model_copy(update={"label": f"{verdict.shown.label}, {told}"})
    return verdict.model_copy(update={"shown": shown, "sentence": f"{told}, {verdict.sentence}"})


def _harm(verdict: GateVerdict) -> tuple[int, float]:
    """How badly a case fares: its outcome, then how far its unfavourable bound is beyond the limit."""
    if verdict.limit is None or verdict.value is None:
        return _RANK[verdict.outcome], 0.0
    sign = 1 if verdict.side == "at most" else -1
    bound = verdict.value if verdict.worst is None else verdict.worst
    return _RANK[verdict.outcome], sign * (bound - verdict.limit)
