"""What the door takes: `baseline` runs the original once; `evidence` scores one artifact against it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from catalog.formats import LoadableName
from catalog.runtime import RuntimeOptions
from catalog.tasks import TaskName
from gates.kinds.tasks import TaskConfiguration


class Evaluation(BaseModel):
    """Held-out text, scored per document: one document is one row of at most `tokens` tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    documents: Path
    """JSON Lines, one object per document with the key `text`."""
    tokens: int = Field(512, ge=2)
    max_documents: int | None = Field(None, ge=1)
    """Documents scored at most: all that the file holds when None. A baseline scores that many; evidence may score
    fewer at a first look (`gates.statistics.sequential`) and more at the next."""


class TaskRequest(TaskConfiguration):
    """One lm-evaluation-harness task; a name alone means the configuration that the task comes with."""

    name: str


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Measured = dict[str, dict[str, Any]]
"""Settings of what is measured for single gates (`gates.judging.gate.MeasuredGate`), by their names."""
Tasks = tuple[Annotated[TaskRequest, BeforeValidator(_named)], ...]


class BaselineRequest(BaseModel):
    """Score the original; write its log-probabilities to `OUT_DIR` for every artifact and night to come."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: Literal["baseline"] = "baseline"
    model: Path
    task: TaskName = "text-generation"
    evaluation: Evaluation
    tasks: Tasks = ()
    measured: Measured = {}
    hold_bytes: int | None = Field(None, ge=0)
    """Bytes of the original's weights, in float32, that may stay in memory; None: all. What is over is read whenever it is
    needed, for many rows at once, and nothing is generated with such an original."""


class Streamed(BaseModel):
    """How an artifact is scored whose stock loader would unpack it whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hold_bytes: int = Field(ge=0)
    """Bytes of unpacked weights that may stay in memory."""
    stock_blocks: int = Field(ge=1)
    """The first blocks that the stock loader loads all the same, which must then say what is streamed."""


class Draft(BaseModel):
    """A release that guesses tokens for the artifact, in speculative decoding."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    directory: Path
    candidates: int = Field(ge=1)
    """Tokens that are guessed at a time."""


class EvidenceRequest(BaseModel):
    """Load `artifact` with the stock loader in this fresh process, generate, score it against `baseline`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: Literal["evidence"] = "evidence"
    model: Path
    """The original: its size, tokenizer and chat template are what the artifact's are held against."""
    task: TaskName = "text-generation"
    """With the format it decides the stock loader."""
    artifact: Path
    format: LoadableName
    expected_bytes: int | None = None
    """Weight bytes the recipe implies, from the quantizer's record."""
    baseline: Path
    """The directory a `baseline` step wrote."""
    evaluation: Evaluation
    previous: Path | None = None
    """Directory of an `evidence` step for the same artifact on fewer documents, whose rows are carried over."""
    tasks: Tasks = ()
    measured: Measured = {}
    speed: bool = False
    """Whether to measure speed and memory beside the original in this run."""
    overflow: bool = False
    """Whether a gate is about activations, so that a client which runs a graph shows them by running it again."""
    runtime: RuntimeOptions = RuntimeOptions()
    """What it is run with."""
    streamed: Streamed | None = None
    """None: the stock loader holds it whole."""
    draft: Draft | None = None
    """Whose guesses it is to accept, if it has a draft."""
    control: bool = False
    """Whether to spoil a copy of the artifact and score that (`gates.safeguards.control`): gates that see anything refuse it."""


class AdapterRequest(BaseModel):
    """Score a base, then base and adapter as the stock loader of adapters loads them, on two texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: Literal["adapter"] = "adapter"
    task: TaskName = "text-generation"
    adapter: Path
    base: Path
    """Directory of the release that it was trained on."""
    base_format: LoadableName
    base_name: str
    base_revision: str
    """Name and commit that the adapter's configuration must have."""
    home: Path
    """A directory in which the stock loader finds the base by these: what HF_HOME is to be."""
    held_out: Evaluation
    general: Evaluation


Asked = BaselineRequest | EvidenceRequest | AdapterRequest
Request = Annotated[Asked, Field(discriminator="step")]
REQUEST: TypeAdapter[Asked] = TypeAdapter(Request)
