"""How an estimate is held against a limit, and how that reads. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from gates.results import NOTHING, GateVerdict, Outcome, Shown, Side
from gates.statistics.estimate import Estimate

_SIGN: dict[Side, str] = {"at most": "≤", "at least": "≥"}


@dataclass(frozen=True)
class Wording:
    """How the rows of one kind of gate read."""

    side: Side
    words: str
    """What is measured, in a sentence."""
    number: str
    """Format of its numbers there."""
    label: str
    """What is measured, at the head of a row."""
    figure: str
    """Format of its numbers in rows."""
    unit: str = "documents"
    """What the estimate is made of."""
    column: str | None = None
    """Heading in a table of many targets; None: it stands in none."""
    cell: str = "{value}"
    """What stands below that heading, made of `value` and `worst`."""
    timed: bool = False


def decide(estimate: Estimate, limit: float, side: Side, last: bool) -> Outcome:
    """Compare an estimate with its limit; `last`: no more will be measured.

    It passes when the unfavourable end of its interval is within the limit, and fails when the favourable one is beyond.
    What bounds nothing, one document say, decides nothing.
    """
    if estimate.low is None and estimate.high is None:
        return "undecided"
    sign = 1 if side == "at most" else -1
    worst, best = (estimate.high, estimate.low) if side == "at most" else (estimate.low, estimate.high)
    within = sign * estimate.value <= sign * limit
    if within and worst is not None and sign * worst <= sign * limit:
        return "passed"
    if not within and (last or (best is not None and sign * best > sign * limit)):
        return "failed"
    return "undecided"


def row(name: str, wording: Wording, estimate: Estimate | None, limit: float, last: bool = True) -> GateVerdict:
    """Judge an estimate and word what comes of it. Nothing measured is a failure."""
    if estimate is None:
        return GateVerdict(
            name=name,
            outcome="failed",
            limit=limit,
            side=wording.side,
            sentence=f"{wording.words}: nothing was measured",
            shown=shown(wording, None, None, limit),
            timed=wording.timed,
        )
    worst = estimate.high if wording.side == "at most" else estimate.low
    return GateVerdict(
        name=name,
        outcome=decide(estimate, limit, wording.side, last),
        value=estimate.value,
        interval=(estimate.low, estimate.high),
        confidence=estimate.confidence,
        limit=limit,
        side=wording.side,
        sentence=_sentence(wording, estimate, worst, limit),
        shown=shown(wording, estimate.value, worst, limit),
        timed=wording.timed,
    )


def _sentence(wording: Wording, estimate: Estimate, worst: float | None, limit: float) -> str:
    number, over = wording.number, f"{estimate.documents} {wording.unit}"
    if estimate.documents == 1:
        over = f"1 {wording.unit.removesuffix('s')}"
    if worst is None:
        bound = f"which {over} cannot bound at {estimate.confidence:.1%} confidence"
    else:
        bound = f"{wording.side} {number.format(worst)} at {estimate.confidence:.1%} confidence over {over}"
    return f"{wording.words} {number.format(estimate.value)}, {bound}, limit {number.format(limit)}"


def shown(wording: Wording, value: float | None, worst: float | None, limit: float) -> Shown:
    """Word the numbers of a row; None: there is none."""
    bare = {"value": value, "worst": worst}
    missing = any(number is None and "{" + name in wording.cell for name, number in bare.items())
    return Shown(
        label=wording.label,
        measured=NOTHING if value is None else wording.figure.format(value),
        bound=(NOTHING if value is None else "unbounded") if worst is None else wording.figure.format(worst),
        allowed=f"{_SIGN[wording.side]} {wording.figure.format(limit)}",
        column=wording.column,
        cell=NOTHING if missing else wording.cell.format(**bare),
    )
