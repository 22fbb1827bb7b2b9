"""The part of evidence and verdict that a card shows, and the part that a release keeps.

The gates hand their evidence over as JSON. What the card needs of it is spelled out here and must be there; what else it
holds travels along in `quantmill.json`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalog.tasks import TASKS
from publishers.errors import PublishError

FP16_MAX = 65504
"""The largest number of fp16."""
TIMED = "decoding speed measured on the building machine and within its limit"
UNTIMED = {"measured": "on the building machine", "bound": "within the limit", "cell": "–"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Estimate(_Part):
    """A measured quantity with one-sided bounds on both sides; None: the documents cannot bound that side."""

    value: float
    low: float | None
    high: float | None
    confidence: float


class Summary(BaseModel):
    """Original and artifact on the same held-out rows: what `catalog.tasks` lists for the task, by name."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Estimate | float]

    tokens: int = Field(ge=1)
    """Positions at which both were compared."""

    @property
    def quantities(self) -> dict[str, Estimate | float]:
        """All that was measured."""
        return dict(self.__pydantic_extra__)

    @property
    def values(self) -> dict[str, float]:
        """Each as one number."""
        return {name: q.value if isinstance(q, Estimate) else q for name, q in self.__pydantic_extra__.items()}


class Sizes(_Part):
    """Bytes of the weight files."""

    original_bytes: int
    artifact_bytes: int
    ratio: float
    """Artifact over original."""


class TaskScores(_Part):
    """Scores per item of one task, on the same items."""

    metric: str
    original: tuple[float, ...] = Field(min_length=1)
    artifact: tuple[float, ...] = Field(min_length=1)


class Activations(_Part):
    """How large activations became."""

    largest: float | None
    layer: str
    beyond: dict[str, int] = {}
    """By layer: values beyond `FP16_MAX`."""


class Costs(_Part):
    """What one program took, in turn with the others."""

    decode_seconds: tuple[float, ...] = Field(min_length=1)
    first_seconds: tuple[float, ...] = Field(min_length=1)
    """From a prompt to the first token that is written."""
    resident_bytes: int
    peak_bytes: int
    threads: int | None


class Speed(Costs):
    """What original and artifact cost on one machine, within one run."""

    decode_seconds_original: tuple[float, ...] = Field(min_length=1)
    first_seconds_original: tuple[float, ...] = Field(min_length=1)
    resident_bytes_original: int
    peak_bytes_original: int
    threads_original: int | None
    tokens: int
    """Decoded in each turn."""
    prompt: int
    """Tokens of the prompt."""
    processor: str | None
    elsewhere: dict[str, Costs] = {}
    """The artifact in other programs, by their names."""

    @property
    def sides(self) -> dict[str, Costs]:
        """All that was measured, by the heads of a table's columns."""
        original = Costs(**{name: getattr(self, f"{name}_original") for name in Costs.model_fields})
        return {
            "original": original,
            "this model": self,
            **{f"in {name}": each for name, each in self.elsewhere.items()},
        }


class Evidence(_Part):
    """What was measured."""

    loader: str
    """The stock class that loaded the artifact."""
    runtime: dict[str, str] = {}
    """How it computed, as it said itself: dtype, or OpenVINO's properties."""
    row_tokens: int
    """Tokens per document at most."""
    documents: tuple[Any, ...] = Field(min_length=1)
    """One entry per document that both models scored."""
    summary: Summary
    chat_summary: Summary | None = None
    """The same through the chat template; None for a model without one."""
    size: Sizes
    activations: Activations | None = None
    activations_original: Activations | None = None
    tasks: dict[str, TaskScores] = {}
    speed: Speed | None = None
    tools: dict[str, str]
    """Library → version of all that had a hand in the numbers."""


class Shown(_Part):
    """How a gate's numbers read."""

    label: str
    """What is judged."""
    measured: str
    bound: str
    """The unfavourable bound."""
    allowed: str
    """The limit, with the side it is on."""


class Gate(_Part):
    """What one gate concluded."""

    name: str
    outcome: Literal["passed"]
    shown: Shown | None = None
    """None for a check that no limit overrides."""
    sentence: str


class Verdict(_Part):
    """Why the artifact may be released."""

    passed: Literal[True]
    sentence: str
    gates: tuple[Gate, ...] = Field(min_length=1)


def read_evidence(evidence: dict[str, Any], task: str) -> Evidence:
    """Read what the card shows of the evidence.

    Raises:
        PublishError: a measurement is absent; names it.
    """
    try:
        read = Evidence.model_validate(evidence)
    except ValidationError as error:
        raise incomplete("evidence", error) from error
    if absent := [name for name in TASKS[task].shown if name not in read.summary.quantities]:
        raise _lacking("evidence", f"summary.{absent[0]}: Field required")
    return read


def read_verdict(verdict: dict[str, Any]) -> Verdict:
    """Read what the card shows of the verdict.

    Raises:
        PublishError: it does not say that every gate passed.
    """
    if verdict.get("passed") is not True:
        reason = verdict.get("sentence") or "the verdict does not say passed: true."
        raise PublishError(
            f"The artifact did not pass its gates and is not released: {reason} Change the recipe, or the gates if they ask "
            "too much."
        )
    try:
        return Verdict.model_validate(verdict)
    except ValidationError as error:
        raise incomplete("verdict", error) from error


def without_timings(verdict: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a verdict what was timed: it says that the gate passed, and its limit.

    Seconds differ each time. What they were is told once, in the evidence, as one machine's figures (`publishers.figures`).
    """
    gates, sentence = [], verdict["sentence"]
    for gate in verdict["gates"]:
        if gate.get("timed"):
            sentence = sentence.replace(gate["sentence"], TIMED)
            kept = {key: value for key, value in gate.items() if key not in ("value", "interval")}
            gate = {**kept, "sentence": TIMED, "shown": {**gate["shown"], **UNTIMED}}
        gates.append(gate)
    return {**verdict, "sentence": sentence, "gates": gates}


def incomplete(what: str, error: ValidationError) -> PublishError:
    """What is said of evidence or a verdict that lacks what a card shows."""
    return _lacking(what, "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3]))


def _lacking(what: str, missing: str) -> PublishError:
    return PublishError(
        f"The {what} lacks what a model card must show ({missing}), so the release could not be judged by its reader: "
        f"measure the artifact again with the gates of this version."
    )
