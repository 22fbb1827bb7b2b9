"""Evidence and tolerances in, verdict out: a pure function, instant, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from gates.evidence import CHECKS, Check, Evidence
from gates.spec import Gates
from gates.statistics.intervals import Estimate
from gates.statistics.measures import measure
from gates.statistics.recovery import recovery, speed_ratio
from gates.statistics.sequential import confidence_at

Outcome = Literal["passed", "failed", "undecided"]


class GateVerdict(BaseModel):
    """What one gate concluded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """`divergence`, `perplexity`, `agreement`, `size`, `speed`, `tasks.<task>`, `chat.<gate>` or `sanity.<check>`."""
    outcome: Outcome
    value: float | None = None
    """Point estimate."""
    interval: tuple[float | None, float | None] | None = None
    """One-sided bounds at `confidence`; None on a side that the documents cannot bound."""
    confidence: float | None = None
    limit: float | None = None
    sentence: str


class Verdict(BaseModel):
    """Whether the artifact may be released, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passed: bool
    outcome: Outcome
    """`failed` when any gate failed, else `undecided` when any is, else `passed`."""
    more: bool
    """Whether more documents are at hand and could decide."""
    sentence: str
    gates: tuple[GateVerdict, ...]


def judge(evidence: Evidence, gates: Gates) -> Verdict:
    """Hold the evidence against the tolerances.

    A gate passes only when the unfavourable end of its one-sided interval is within the tolerance (a test of
    non-inferiority), so each gate passes a model at or beyond its tolerance at most 1 - confidence of the time, and so
    does the conjunction of all of them. While documents remain, a gate whose interval holds the tolerance is
    `undecided`; when none remain, it is `undecided` if the estimate is within the tolerance and `failed` if not.
    """
    rows = (*_sanity(evidence), *_statistical(evidence, gates), *_tasks(evidence, gates), *_costs(evidence, gates))
    outcome: Outcome = "passed"
    for row in rows:
        if row.outcome == "failed" or (row.outcome == "undecided" and outcome == "passed"):
            outcome = row.outcome
    more = outcome == "undecided" and evidence.looks[-1] < evidence.available
    return Verdict(
        passed=outcome == "passed", outcome=outcome, more=more, sentence=_why(rows, outcome, evidence, more), gates=rows
    )


def _sanity(evidence: Evidence) -> Iterator[GateVerdict]:
    unchecked = {name: Check(name=name, passed=False, detail="not checked") for name in CHECKS}
    for check in (unchecked | {check.name: check for check in evidence.checks}).values():
        yield GateVerdict(
            name=f"sanity.{check.name}", outcome="passed" if check.passed else "failed", sentence=check.detail
        )


def _statistical(evidence: Evidence, gates: Gates) -> Iterator[GateVerdict]:
    """Gates over documents, on the plain text and, for a model with a chat template, on conversations as well."""
    asked: list[tuple[str, str, Literal["low", "high"], float, str, str]] = []
    if gates.divergence:
        asked.append(("divergence", "kld", "high", gates.divergence.max_kld, "KL divergence", "{:.4g} nats"))
    if gates.perplexity:
        asked.append(("perplexity", "increase", "high", gates.perplexity.max_increase, "perplexity change", "{:+.2%}"))
    if gates.agreement:
        asked.append(("agreement", "agreement", "low", gates.agreement.min_top1, "top-1 agreement", "{:.2%}"))
    confidence = confidence_at(evidence.looks, evidence.available, gates.confidence)
    last = evidence.looks[-1] >= evidence.available
    for prefix, documents in (("", evidence.documents), ("chat.", evidence.chat)):
        if prefix and not documents:
            continue
        for name, quantity, side, limit, words, style in asked:
            found = measure(quantity, documents, confidence) if documents else None
            yield _judge(prefix + name, found, limit, side, last, words, style)


def _tasks(evidence: Evidence, gates: Gates) -> Iterator[GateVerdict]:
    for task, gate in gates.tasks.items():
        scores = evidence.tasks.get(task)
        found = recovery(scores, gates.confidence) if scores else None
        yield _judge(f"tasks.{task}", found, gate.min_recovery, "low", True, f"recovery on {task}", "{:.2%}", "items")


def _costs(evidence: Evidence, gates: Gates) -> Iterator[GateVerdict]:
    if gates.size:
        ratio, limit = evidence.size.ratio, gates.size.max_ratio
        words = f"weights are {ratio:.1%} of the original's bytes, limit {limit:.1%}"
        yield GateVerdict(
            name="size", outcome="passed" if ratio <= limit else "failed", value=ratio, limit=limit, sentence=words
        )
    if gates.speed:
        found = speed_ratio(evidence.speed, gates.confidence) if evidence.speed else None
        yield _judge(
            "speed", found, gates.speed.min_ratio, "low", True, "decoding speed over the original's", "{:.2f}", "turns"
        )


def _judge(
    name: str,
    found: Estimate | None,
    limit: float,
    side: Literal["low", "high"],
    last: bool,
    words: str,
    style: str,
    unit: str = "documents",
) -> GateVerdict:
    """Compare an estimate with a limit that it must stay below (`side` high) or above (`side` low)."""
    if found is None:
        return GateVerdict(name=name, outcome="failed", limit=limit, sentence=f"{words}: nothing was measured")
    sign = 1 if side == "high" else -1
    worst, best = (found.high, found.low) if side == "high" else (found.low, found.high)
    within = sign * found.value <= sign * limit
    outcome: Outcome = "undecided"
    if within and worst is not None and sign * worst <= sign * limit:
        outcome = "passed"
    elif not within and (last or (best is not None and sign * best > sign * limit)):
        outcome = "failed"
    bound = "unbounded" if worst is None else style.format(worst)
    most = "at most" if side == "high" else "at least"
    sentence = (
        f"{words} {style.format(found.value)}, {most} {bound} at {found.confidence:.1%} confidence over "
        f"{found.documents} {unit}, limit {style.format(limit)}"
    )
    return GateVerdict(
        name=name,
        outcome=outcome,
        value=found.value,
        interval=(found.low, found.high),
        confidence=found.confidence,
        limit=limit,
        sentence=sentence,
    )


def _why(rows: tuple[GateVerdict, ...], outcome: Outcome, evidence: Evidence, more: bool) -> str:
    culprits = [row for row in rows if row.outcome == outcome]
    if outcome == "passed":
        judged = [row for row in rows if row.limit is not None]
        closest = "; ".join(row.sentence for row in judged)
        return f"Passed all {len(rows)} gates: {closest or 'it loads and generates'}."
    if outcome == "undecided":
        hope = (
            f"{evidence.available - evidence.looks[-1]} more documents are at hand"
            if more
            else "no more documents are at hand; widen the tolerance or give more evaluation text"
        )
        return f"Undecided at {', '.join(row.name for row in culprits)}: {culprits[0].sentence}; {hope}."
    return f"Failed at {', '.join(row.name for row in culprits)}: {culprits[0].sentence}."
