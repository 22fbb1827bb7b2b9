"""Evidence and tolerances in, verdict out: a pure function, instant, without torch."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.tasks import TASKS
from gates.evidence import Check, Evidence
from gates.judging.gate import CHAT, TextGate
from gates.results import GateVerdict, Outcome, Verdict
from gates.spec import KINDS, Gates


def judge(evidence: Evidence, gates: Gates, risk: float | None = None) -> Verdict:
    """Hold the evidence against the tolerances.

    risk: one-sided, of passing what is beyond a tolerance; None: all that `gates.confidence` leaves. Where several are tried
    for one release, each takes a share of it.

    A gate passes only when the unfavourable end of its one-sided interval is within the tolerance (a test of
    non-inferiority), so each gate passes a model at or beyond its tolerance at most `risk` of the time, and so
    does the conjunction of all of them. While documents remain that may still make it pass, a gate whose interval holds the
    tolerance is `undecided`; when none remain, it is `undecided` if the estimate is within the tolerance, or nothing bounds
    it, and `failed` if not.
    """
    taken = 1 - gates.confidence if risk is None else risk
    judged = (row for name, gate in gates.asked() for row in gate.judge(name, evidence, 1 - taken))
    return conclude((*_sanity(evidence), *judged), taken, evidence.available - evidence.looks[-1])


def conclude(rows: tuple[GateVerdict, ...], taken: float, left: int = 0) -> Verdict:
    """Return what rows of gates and checks come to.

    taken: the one-sided risk that they were judged by; left: documents that were not scored yet.
    """
    outcome: Outcome = "passed"
    for row in rows:
        if row.outcome == "failed" or (row.outcome == "undecided" and outcome == "passed"):
            outcome = row.outcome
    hopeless = any(row.hopeless for row in rows if row.outcome == "undecided")
    more = outcome == "undecided" and left > 0 and not hopeless
    return Verdict(
        passed=outcome == "passed",
        outcome=outcome,
        more=more,
        sentence=_why(rows, outcome, left, more),
        gates=rows,
        risk=taken,
    )


def slipped(verdict: Verdict) -> str | None:
    """Return what a spoiled copy (`gates.safeguards.control`) got past; None when it was refused, and not for its files alone.

    Where text is judged, something that it is judged by must have refused it.
    """
    of_text = [row for row in verdict.gates if _of_text(row.name)]
    if verdict.outcome != "passed" and (not of_text or any(row.outcome != "passed" for row in of_text)):
        return None
    return "; ".join(row.sentence for row in of_text) or verdict.sentence


def _of_text(name: str) -> bool:
    kind = KINDS.get(name.removeprefix(CHAT).partition(".")[0])
    return kind is not None and issubclass(kind, TextGate)


def _sanity(evidence: Evidence) -> Iterator[GateVerdict]:
    unchecked = {name: Check(name=name, passed=False, detail="not checked") for name in TASKS[evidence.task].sanity}
    for check in (unchecked | {check.name: check for check in evidence.checks}).values():
        yield GateVerdict(
            name=f"sanity.{check.name}", outcome="passed" if check.passed else "failed", sentence=check.detail
        )


def _why(rows: tuple[GateVerdict, ...], outcome: Outcome, left: int, more: bool) -> str:
    culprits = [row for row in rows if row.outcome == outcome]
    if outcome == "passed":
        judged = [row for row in rows if row.limit is not None]
        closest = "; ".join(row.sentence for row in judged)
        checks = _counted(len(rows) - len(judged), "check")
        gates = (
            f"Passed {_counted(len(judged), 'gate')} and {checks}"
            if judged
            else f"Passed {checks}; no gate was asked for"
        )
        return f"{gates}: {closest or 'it loads and runs'}."
    if outcome == "undecided":
        hope = _hope(culprits, left, more)
        return f"Undecided at {', '.join(row.name for row in culprits)}: {culprits[0].sentence}; {hope}."
    return f"Failed at {', '.join(row.name for row in culprits)}: {culprits[0].sentence}."


def _hope(culprits: list[GateVerdict], left: int, more: bool) -> str:
    """Say how many documents are missing, and whether they are at hand."""
    missing = [row.deciding - row.scored for row in culprits if row.deciding is not None and row.scored is not None]
    wanted = f"some {max(max(missing), 1)} more would decide, and " if missing else ""
    if more:
        return f"{wanted}{left} more documents are at hand"
    hand = f"the {left} more documents at hand hardly would" if left else "no more documents are at hand"
    return f"{wanted}{hand}; give more evaluation text, or widen the tolerance"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
