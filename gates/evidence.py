"""What was measured of one artifact against its original. Imports no torch: verdicts and cards are made from it."""

from __future__ import annotations

from statistics import median

from pydantic import BaseModel, ConfigDict, Field

from catalog.tasks import TaskName
from gates.statistics.estimate import Estimate

CONFIDENCE = 0.95
"""One-sided confidence of the bounds in a summary; a verdict computes its own from the documents."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Document(_Frozen):
    """One row of held-out data, scored by both models: what the kinds of gates keep of its positions."""

    index: int
    """Place among the distinct evaluation texts, from 0."""
    tokens: int
    """Positions at which both were compared, which its sums are over: a text's tokens but the first, say, or one."""
    sums: dict[str, float]
    """By name (`gates.judging.gate.Gate.sums`): numbers that add up over positions."""
    tops: dict[str, tuple[float, ...]] = {}
    """By name (`gates.judging.gate.Gate.tops`): numbers of single positions."""
    domain: str | None = None
    """What kind of text it is, if its row says so."""


class Check(_Frozen):
    """One thing that must hold whatever the thresholds say."""

    name: str
    passed: bool
    detail: str
    """What was seen, in one sentence; names the file, tensor or text at fault."""


class Sizes(_Frozen):
    """Bytes of the weight files: safetensors, or the .bin beside an OpenVINO .xml."""

    original_bytes: int
    artifact_bytes: int
    expected_bytes: int | None
    """What the recipe implies."""
    ratio: float
    """Artifact over original."""


class Sample(_Frozen):
    """A prompt and what both models continue it with, greedily."""

    prompt: str
    original: str | None
    """None of an original that is larger than the memory it was given: nothing was generated with it."""
    artifact: str
    tokens: int = 0
    """Of the original's continuation, the one that ends it included."""
    same: int = 0
    """Tokens that both begin with alike."""


class TaskScores(_Frozen):
    """One lm-evaluation-harness task on the same items, in the harness's order."""

    metric: str
    configuration: dict[str, str | int | float | bool | None]
    """What decides the score: few-shot count, chat template, output type, task version and a digest of the items."""
    original: tuple[float, ...]
    artifact: tuple[float, ...]
    """Score per item; 0 or 1 for accuracies."""
    identical: bool
    """Whether every item's raw responses are equal to the last bit."""
    mcnemar_p: float | None
    """Two-sided exact McNemar test on the items that changed; None for scores other than 0 and 1."""


class Costs(_Frozen):
    """The artifact in another program that runs its format, in turn with both."""

    decode_seconds: tuple[float, ...]
    first_seconds: tuple[float, ...]
    load_seconds: float
    resident_bytes: int
    peak_bytes: int
    threads: int | None
    """None: it does not say."""


class Speed(_Frozen):
    """Costs on this machine, original and artifact in turn within one run. Measured, so never the same twice."""

    decode_seconds_original: tuple[float, ...]
    decode_seconds: tuple[float, ...]
    load_seconds_original: float
    load_seconds: float
    peak_bytes_original: int
    peak_bytes: int
    """Peak resident bytes of the process that did nothing else."""
    tokens: int = 32
    """Decoded in each turn, one after the other, of one row."""
    prompt: int = 1
    """Tokens of the prompt, a text's own, that the first token was waited for after."""
    first_seconds_original: tuple[float, ...] = ()
    first_seconds: tuple[float, ...] = ()
    """From the prompt to its first token."""
    resident_bytes_original: int | None = None
    resident_bytes: int | None = None
    """Resident bytes of that process after the last turn."""
    threads_original: int | None = None
    threads: int | None = None
    """That the client computed with."""
    processor: str | None = None
    """What the machine calls it."""
    elsewhere: dict[str, Costs] = {}
    """By name of the program."""

    @property
    def rate(self) -> float:
        """Decoded tokens per second, the median turn's."""
        return self.tokens / median(self.decode_seconds)

    @property
    def rate_original(self) -> float:
        """The same of the original."""
        return self.tokens / median(self.decode_seconds_original)

    @property
    def first(self) -> float:
        """Seconds from the prompt to its first token, the median turn's."""
        return median(self.first_seconds)

    @property
    def first_original(self) -> float:
        """The same of the original."""
        return median(self.first_seconds_original)


FP16_MAX = 65504
"""The largest number of fp16."""


class Activations(_Frozen):
    """How large activations became while a model was scored, in the dtype it computed in, else float32."""

    largest: float | None
    """Magnitude; None where it was no finite number."""
    layer: str
    """Where that was."""
    beyond: dict[str, int] = {}
    """By layer: values beyond `FP16_MAX`, over all that was scored."""


class Summary(BaseModel):
    """Over all scored documents, each position counting once: what `catalog.tasks` lists for the task, by name."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Estimate | float]

    tokens: int

    @property
    def values(self) -> dict[str, float]:
        """Each as one number."""
        return {name: q.value if isinstance(q, Estimate) else q for name, q in self.__pydantic_extra__.items()}

    def estimate(self, name: str) -> Estimate | None:
        """Return a quantity that has bounds; None when it was not measured."""
        value = self.__pydantic_extra__.get(name)
        return value if isinstance(value, Estimate) else None


class Evidence(_Frozen):
    """`OUT_DIR/evidence.json`: everything a verdict needs, so that judging again runs no model."""

    task: TaskName = "text-generation"
    format: str
    loader: str
    """The stock class that loaded the artifact."""
    row_tokens: int
    """Tokens per document at most."""
    available: int
    """Documents the original was scored on: the limit."""
    looks: tuple[int, ...]
    """Number of documents at each look up to this one, the last (`gates.statistics.sequential`)."""
    documents: tuple[Document, ...]
    """Those that both models could score, in order of index."""
    chat: tuple[Document, ...] = ()
    """The same for texts wrapped in the chat template, the reply alone scored; empty for a model without one."""
    summary: Summary | None
    """None when the artifact could not be scored; the checks say why."""
    chat_summary: Summary | None = None
    size: Sizes
    checks: tuple[Check, ...]
    samples: tuple[Sample, ...] = ()
    tasks: dict[str, TaskScores] = {}
    measured: dict[str, tuple[Document, ...]] = {}
    """What was measured for single gates (`gates.judging.gate.MeasuredGate`), by their names."""
    speed: Speed | None = None
    activations: Activations | None = None
    """None: the client shows none, or was not asked to (`EvidenceRequest.overflow`)."""
    activations_original: Activations | None = None
    """The same of the original, over all documents of its baseline."""
    runtime: dict[str, str] = Field(default_factory=dict)
    """How the loader computed: dtype, or OpenVINO's precision hints."""
    tools: dict[str, str] = Field(default_factory=dict)
    """Library → version, of all that had a hand in the numbers."""
