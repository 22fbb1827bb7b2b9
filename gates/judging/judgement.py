"""How an estimate is held against a limit, and how that reads. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10

from gates.results import NOTHING, GateVerdict, Outcome, Shown, Side
from gates.statistics.estimate import Estimate
from gates.statistics.sequential import HOPELESS, Look, Outlook, outlook, single

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


def decide(estimate: Estimate, limit: float, side: Side, look: Look, ahead: Outlook | None) -> Outcome:
    """Compare an estimate with its limit; `ahead`: what may come of documents not scored yet.

    It passes when the unfavourable end of its interval is within the limit. Beyond the limit it fails when the favourable
    end is beyond, too, or the rest of the documents would hardly save it. What bounds nothing, one document say, decides
    nothing.
    """
    if estimate.low is None and estimate.high is None:
        return "undecided"
    sign = _sign(side)
    worst, best = (estimate.high, estimate.low) if side == "at most" else (estimate.low, estimate.high)
    within = sign * estimate.value <= sign * limit
    if within and worst is not None and sign * worst <= sign * limit:
        return "passed"
    ended = look.last or _hopeless(ahead)
    if not within and (ended or (best is not None and sign * best > sign * limit)):
        return "failed"
    return "undecided"


def _sign(side: Side) -> int:
    return 1 if side == "at most" else -1


def _hopeless(ahead: Outlook | None) -> bool:
    return ahead is not None and ahead.passing < HOPELESS


def row(name: str, wording: Wording, estimate: Estimate | None, limit: float, look: Look | None = None) -> GateVerdict:
    """Judge an estimate and word what comes of it. Nothing measured is a failure; without a look it was measured once."""
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
    look = look or single(estimate.confidence, estimate.documents)
    ahead = outlook(estimate, limit, _sign(wording.side), look)
    worst = estimate.high if wording.side == "at most" else estimate.low
    return GateVerdict(
        name=name,
        outcome=decide(estimate, limit, wording.side, look, ahead),
        value=estimate.value,
        interval=(estimate.low, estimate.high),
        confidence=estimate.confidence,
        limit=limit,
        side=wording.side,
        sentence=_sentence(wording, estimate, worst, limit, ahead),
        shown=shown(wording, estimate.value, worst, limit, ahead),
        timed=wording.timed,
        scored=estimate.documents,
        deciding=ahead and ahead.deciding,
        detectable=ahead and ahead.detectable,
        hopeless=_hopeless(ahead),
    )


def _sentence(wording: Wording, estimate: Estimate, worst: float | None, limit: float, ahead: Outlook | None) -> str:
    number, over = wording.number, f"{estimate.documents} {wording.unit}"
    if estimate.documents == 1:
        over = f"1 {wording.unit.removesuffix('s')}"
    if worst is None:
        bound = f"which {over} cannot bound at {_percent(estimate.confidence)} confidence"
    else:
        bound = f"{wording.side} {number.format(worst)} at {_percent(estimate.confidence)} confidence over {over}"
    told = f"{wording.words} {number.format(estimate.value)}, {bound}, limit {number.format(limit)}"
    if ahead is None:
        return told
    decides = "no number of them decides" if ahead.deciding is None else f"{ahead.deciding} would decide"
    return f"{told} (least detectable distance from it {number.format(ahead.detectable).removeprefix('+')}; {decides})"


def _percent(confidence: float) -> str:
    """Word a confidence with as many digits as its risk needs: 95%, 99.97%."""
    return f"{100 - 100 * (1 - confidence):.{max(0, 1 - floor(log10(100 * (1 - confidence))))}f}%"


def shown(
    wording: Wording, value: float | None, worst: float | None, limit: float, ahead: Outlook | None = None
) -> Shown:
    """Word the numbers of a row; None: there is none."""
    bare = {"value": value, "worst": worst}
    missing = any(number is None and "{" + name in wording.cell for name, number in bare.items())
    return Shown(
        label=wording.label,
        measured=NOTHING if value is None else wording.figure.format(value),
        bound=(NOTHING if value is None else "unbounded") if worst is None else wording.figure.format(worst),
        allowed=f"{_SIGN[wording.side]} {wording.figure.format(limit)}",
        detects=wording.figure.format(ahead.detectable).removeprefix("+") if ahead else NOTHING,
        column=wording.column,
        cell=NOTHING if missing else wording.cell.format(**bare),
    )
