"""A verdict as one self-contained HTML page that a person can read. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jinja2

from catalog.sizes import in_words
from catalog.tasks import TASKS
from gates.evidence import Evidence
from gates.kinds import text_similarity
from gates.pages.plots import Point, per_document, quality_against_size
from gates.results import GateVerdict, Verdict
from gates.spec import KINDS, Gates, harm_gate
from gates.statistics.estimate import Estimate


@dataclass(frozen=True)
class Attempt:
    """One recipe that was built and judged; the last attempt of a page is the one it is about."""

    name: str
    evidence: Evidence
    verdict: Verdict


@dataclass(frozen=True)
class Reference:
    """A peer's usual recipe on the same model and texts."""

    name: str
    ratio: float
    harm: float
    """How far it is from the original, by the measure that its task names."""


def render(
    title: str,
    attempts: Sequence[Attempt],
    gates: Gates,
    references: Sequence[Reference] = (),
    judged: datetime | None = None,
) -> str:
    """Return the page about the last of `attempts`, which shows the others beside it.

    title: what was judged, such as `acme/phi-3-mini-int4`; references: peers' recipes for the plot of quality and size;
    judged: when, for the page to say.
    """
    chosen = attempts[-1]
    loader = jinja2.PackageLoader("gates.pages", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["bytes"] = in_words
    return environment.get_template("page.html.jinja").render(
        title=title,
        judged=judged,
        attempt=chosen,
        attempts=attempts,
        evidence=chosen.evidence,
        task=TASKS[chosen.evidence.task],
        harms=[(attempt, _harm(attempt.evidence)) for attempt in attempts],
        harm_column=harm_gate(chosen.evidence.task),
        verdict=chosen.verdict,
        rows=[_row(gate) for gate in chosen.verdict.gates if gate.limit is not None],
        checks=[gate for gate in chosen.verdict.gates if gate.name.startswith("sanity.")],
        plots=_plots(attempts, gates, references),
        whowhat=text_similarity.told(chosen.evidence.measured.get(text_similarity.NAME, ())),
    )


def _row(gate: GateVerdict) -> dict[str, Any]:
    """One gate, with estimate, interval and limit as places on its bar, in percent of a width that holds them all."""
    low, high = gate.interval or (None, None)
    ends = [number for number in (gate.value, low, high, gate.limit) if number is not None]
    least = min(0.0, *ends)
    width = 1.1 * (max(0.0, *ends) - least) or 1.0

    def at(number: float | None, otherwise: float) -> float:
        return otherwise if number is None else round(100 * (number - least) / width, 1)

    interval = gate.interval and {"left": at(low, 0.0), "right": at(high, 100.0)}
    value = None if gate.value is None else at(gate.value, 0.0)
    return {"gate": gate, "value": value, "interval": interval, "limit": at(gate.limit, 0.0)}


def _plots(attempts: Sequence[Attempt], gates: Gates, references: Sequence[Reference]) -> list[tuple[str, str]]:
    evidence = attempts[-1].evidence
    plots = []
    for name, kind in KINDS.items() if evidence.summary else ():
        drawn, asked = kind.plot, getattr(gates, name)
        estimate = drawn and evidence.summary and evidence.summary.estimate(drawn.measure)
        if drawn and estimate:
            limit = asked.drawn_limit() if asked else None
            amounts = [drawn.amount(document) for document in evidence.documents]
            plots.append((drawn.heading, per_document(evidence.documents, amounts, estimate, limit, drawn.label)))
    points = [
        Point(a.name, a.evidence.size.ratio, harm.value, a.verdict.outcome)
        for a in attempts
        if (harm := _harm(a.evidence))
    ] + [Point(r.name, r.ratio, r.harm, "peer") for r in references]
    if points:
        name = harm_gate(evidence.task)
        plot, asked = KINDS[name].plot, getattr(gates, name)
        assert plot
        limits = asked.drawn_limit() if asked else None, gates.size.max_ratio if gates.size else None
        drawn_points = quality_against_size(points, plot.label.replace("\n", " "), *limits)
        plots.append(("Quality against size, all attempts", drawn_points))
    return plots


def _harm(evidence: Evidence) -> Estimate | None:
    """How far an artifact is from its original."""
    return evidence.summary.estimate(TASKS[evidence.task].harm) if evidence.summary else None
