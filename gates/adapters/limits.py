"""What an adapter must prove, and whether it did: a pure function, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from gates.adapters.evidence import SANITY, AdapterEvidence
from gates.evidence import Check, Document
from gates.judging.fraction import Fraction
from gates.judging.judgement import Wording, row
from gates.judging.verdict import conclude
from gates.kinds.divergence import KLD
from gates.results import GateVerdict, Verdict
from gates.statistics.measures import Measure

GAIN = Measure(lambda document: document.sums["loss_original"] - document.sums["loss"])
"""Nats per token by which the loss falls."""
_GAIN = Wording(
    side="at least",
    words="fall of the loss on held-out text",
    number="{:.4g} nats",
    label="Fall of the loss on held-out text, nats per token",
    figure="{:.4f}",
    column="gain ≥",
    cell="{worst:.4f}",
)
_FORGOTTEN = Wording(
    side="at most",
    words="KL divergence from the base on general text",
    number="{:.4g} nats",
    label="KL divergence from the base on general text, nats per token",
    figure="{:.5f}",
    column="KLD ≤",
    cell="{worst:.4f}",
)


class AdapterGates(BaseModel):
    """All that must hold before an adapter is released; that it loads, computes and is named rightly always must."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    min_gain: float = Field(0.05, gt=0)
    """Nats per token by which the loss on held-out text of the task must fall, at the least."""
    max_kld: float = Field(0.1, gt=0)
    """KL divergence from the base on general text (`evaluation`), nats per token, at the most: what it knew is not forgotten."""
    confidence: Fraction = Field(0.95, gt=0.5, lt=1)
    """One-sided confidence with which each must hold."""


def judge(evidence: AdapterEvidence, gates: AdapterGates, risk: float | None = None) -> Verdict:
    """Hold the evidence against the limits, each by the unfavourable end of its interval over documents.

    risk: one-sided, of passing what is beyond a limit; None: all that `gates.confidence` leaves.
    """
    taken = 1 - gates.confidence if risk is None else risk
    rows = (*_sanity(evidence, gates), *_judged(evidence, gates, 1 - taken))
    return conclude(rows, taken)


def _judged(evidence: AdapterEvidence, gates: AdapterGates, confidence: float) -> Iterator[GateVerdict]:
    yield _gain("gain", evidence.held_out, gates, confidence)
    yield row("forgetting", _FORGOTTEN, KLD.over(evidence.general, confidence), gates.max_kld)


def _gain(name: str, documents: Sequence[Document], gates: AdapterGates, confidence: float) -> GateVerdict:
    return row(name, _GAIN, GAIN.over(documents, confidence), gates.min_gain)


def _sanity(evidence: AdapterEvidence, gates: AdapterGates) -> Iterator[GateVerdict]:
    unchecked = {name: Check(name=name, passed=False, detail="not checked") for name in SANITY}
    checks = unchecked | {check.name: check for check in evidence.checks} | {"control": _control(evidence, gates)}
    for check in checks.values():
        outcome = "passed" if check.passed else "failed"
        yield GateVerdict.model_validate({"name": f"sanity.{check.name}", "outcome": outcome, "sentence": check.detail})


def _control(evidence: AdapterEvidence, gates: AdapterGates) -> Check:
    """What is known to be bad must not pass for learned."""
    spoiled = _gain("control", evidence.control, gates, gates.confidence)
    detail = f"of a copy that was spoiled on purpose: {spoiled.sentence}"
    return Check(name="control", passed=bool(evidence.control) and spoiled.outcome != "passed", detail=detail)
