"""A verdict as one self-contained HTML page that a person can read. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log1p
from typing import Any

import jinja2

from gates.evidence import Evidence
from gates.pages.plots import Point, per_document, quality_against_size
from gates.spec import Gates
from gates.verdict import GateVerdict, Verdict

_STYLES = {"perplexity": "{:+.2%}", "agreement": "{:.2%}", "size": "{:.2%}", "tasks": "{:.2%}"}
_FLOORS = frozenset({"agreement", "tasks", "speed"})
"""Gates whose limit is a least value; the others' is a most."""


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
    kld: float


def render(title: str, attempts: Sequence[Attempt], gates: Gates, references: Sequence[Reference] = ()) -> str:
    """Return the page about the last of `attempts`, which shows the others beside it.

    title: what was judged, such as `acme/phi-3-mini-int4`; references: peers' recipes for the plot of quality and size.
    """
    chosen = attempts[-1]
    loader = jinja2.PackageLoader("gates.pages", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template("page.html.jinja").render(
        title=title,
        attempt=chosen,
        attempts=attempts,
        evidence=chosen.evidence,
        verdict=chosen.verdict,
        rows=[_row(gate) for gate in chosen.verdict.gates if gate.limit is not None],
        checks=[gate for gate in chosen.verdict.gates if gate.name.startswith("sanity.")],
        plots=_plots(attempts, gates, references),
    )


def _row(gate: GateVerdict) -> dict[str, Any]:
    """Numbers of one gate as text, and as shares of the limit for its bar."""
    kind = gate.name.removeprefix("chat.").split(".")[0]
    style = _STYLES.get(kind, "{:.4g}")
    low, high = gate.interval or (None, None)
    worst = low if kind in _FLOORS else high
    span = 1.5 * abs(gate.limit or 1)
    return {
        "gate": gate,
        "value": "none" if gate.value is None else style.format(gate.value),
        "bound": "" if worst is None else style.format(worst),
        "limit": ("at least " if kind in _FLOORS else "at most ") + style.format(gate.limit),
        "fill": 0 if gate.value is None else round(100 * min(max(gate.value, 0) / span, 1), 1),
        "tick": None if worst is None else round(100 * min(max(worst, 0) / span, 1), 1),
        "mark": round(100 / 1.5, 1),
    }


def _plots(attempts: Sequence[Attempt], gates: Gates, references: Sequence[Reference]) -> list[tuple[str, str]]:
    evidence = attempts[-1].evidence
    plots = []
    if evidence.summary:
        documents, summary = evidence.documents, evidence.summary
        change = [d.loss - d.loss_original for d in documents]
        most = log1p(gates.perplexity.max_increase) if gates.perplexity else None
        label = "loss change,\nnats per token"
        plots.append(("Change of loss per document", per_document(documents, change, summary.loss_change, most, label)))
        most, label = gates.divergence.max_kld if gates.divergence else None, "KL divergence,\nnats per token"
        kld = [d.kld for d in documents]
        plots.append(("Divergence per document", per_document(documents, kld, summary.kld, most, label)))
    points = [
        Point(a.name, a.evidence.size.ratio, a.evidence.summary.kld.value, a.verdict.outcome)
        for a in attempts
        if a.evidence.summary
    ] + [Point(r.name, r.ratio, r.kld, "peer") for r in references]
    if points:
        limits = gates.divergence.max_kld if gates.divergence else None, gates.size.max_ratio if gates.size else None
        plots.append(("Quality against size, all attempts", quality_against_size(points, *limits)))
    return plots
