"""What the steps of `gates` report. Imports neither torch nor numpy: planning reads these."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Outcome = Literal["passed", "failed", "undecided"]
Side = Literal["at most", "at least"]
NOTHING = "–"
"""Stands where there is no number."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Baseline(_Frozen):
    """`OUT_DIR/result.json` of a `baseline` step."""

    # Stores keep what earlier versions reported.
    model_config = ConfigDict(extra="ignore")

    documents: int
    """Documents scored, one file below `documents/` each."""
    left_out: int
    """Rows that there is nothing to compare on, such as texts of fewer than two tokens."""
    tokens: int
    """Positions at which artifacts are compared, such as tokens that are predicted."""
    row_tokens: int
    vocabulary: int
    """Tokens that the model knows."""
    chat: int = 0
    """Documents scored through the chat template, one file below `chat/` each."""
    weights_bytes: int
    tools: dict[str, str]


class EvidenceResult(_Frozen):
    """`OUT_DIR/result.json` of an `evidence` step."""

    model_config = ConfigDict(extra="ignore")

    evidence: str = "evidence.json"
    documents: int
    available: int
    failed_checks: tuple[str, ...]


class Shown(_Frozen):
    """How a gate reads in a card, on a page and in a table: they print it as it is."""

    label: str
    """What is judged, with its unit."""
    measured: str
    bound: str
    """The unfavourable end of the interval."""
    allowed: str
    """The limit, with the side it is on."""
    detects: str = NOTHING
    """The least distance from the limit that so many documents tell from none."""
    column: str | None = None
    """Heading in a table of many targets; None: it stands in none."""
    cell: str = NOTHING
    """The figure below that heading."""


class GateVerdict(_Frozen):
    """What one gate concluded."""

    name: str
    """`divergence`, `perplexity`, …, `tasks.<task>`, `tail.<part>`, `chat.<gate>` or `sanity.<check>`."""
    outcome: Outcome
    value: float | None = None
    """Point estimate."""
    interval: tuple[float | None, float | None] | None = None
    """One-sided bounds at `confidence`; None on a side that the documents cannot bound."""
    confidence: float | None = None
    limit: float | None = None
    side: Side | None = None
    """On which side of the limit it must stay."""
    sentence: str
    shown: Shown | None = None
    """None for what is not a number: a check that no limit overrides."""
    timed: bool = False
    """Whether it was measured by the clock, so that it is never the same twice."""
    scored: int | None = None
    """Documents, items or turns that the estimate is made of."""
    deciding: int | None = None
    """How many would decide it if the value stays; None: it lies on the limit, or is no estimate."""
    detectable: float | None = None
    """Minimum detectable effect: the least distance from the limit that so many tell from none, four times in five."""
    hopeless: bool = False
    """Whether the documents that are left would hardly make it pass."""

    @property
    def worst(self) -> float | None:
        """The unfavourable end of the interval."""
        return None if self.interval is None else self.interval[1 if self.side == "at most" else 0]


class Verdict(_Frozen):
    """Whether the artifact may be released, and why."""

    passed: bool
    outcome: Outcome
    """`failed` when any gate failed, else `undecided` when any is, else `passed`."""
    more: bool
    """Whether more documents are at hand and could decide."""
    sentence: str
    gates: tuple[GateVerdict, ...]
    risk: float | None = None
    """One-sided risk, taken here, of passing what is beyond a tolerance; None: by a version that did not say."""
    spent: float | None = None
    """The same for all that was tried for this release so far, this attempt with all its recipes included."""
    allowed: float | None = None
    """What the release may risk altogether, whatever is tried."""


class Overlap(_Frozen):
    """What evaluation and calibration text share, when it is little enough."""

    documents: int
    """Evaluation documents."""
    touched: int
    """Documents with at least one shared n-gram."""
    share: float
    """Largest share of a document's n-grams that the calibration text has too."""
