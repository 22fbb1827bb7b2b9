"""What a manifest may demand of an artifact. Imports no torch: planning reads this module."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_PERCENT = r"^[0-9]+(\.[0-9]+)? ?%$"


def _fraction(value: Any) -> Any:
    """Read `3%` as 0.03; leave anything else to pydantic."""
    if isinstance(value, str) and re.fullmatch(_PERCENT, value):
        return float(value[:-1]) / 100
    return value


Fraction = Annotated[
    float, BeforeValidator(_fraction, json_schema_input_type=float | Annotated[str, Field(pattern=_PERCENT)])
]


class _Gate(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Divergence(_Gate):
    """Mean per-token KL divergence from the original on held-out text, in nats."""

    max_kld: float = Field(0.05, gt=0)


class Perplexity(_Gate):
    """Relative increase of perplexity over the original on held-out text."""

    max_increase: Fraction = Field(0.03, gt=0)


class Agreement(_Gate):
    """Share of positions where artifact and original rank the same token first."""

    min_top1: Fraction = Field(0.9, gt=0, le=1)


class TaskConfiguration(BaseModel):
    """What decides a task's score: part of the key of everything scored with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str | None = None
    """The task as a YAML file of lm-evaluation-harness; None: a task that the harness carries, by its name."""
    fewshot: int | None = Field(None, ge=0)
    """Solved examples shown before each item; None: as many as the task says."""
    items: int | None = Field(None, ge=1)
    """The first so many items only; None: all."""
    chat_template: bool = False
    """Whether items are put to the model as a conversation."""


class Task(TaskConfiguration):
    """Recovery: the artifact's score over the original's on the same items of one lm-evaluation-harness task."""

    min_recovery: Fraction = Field(0.98, gt=0)

    def configuration(self) -> TaskConfiguration:
        """Leave the tolerance out: another one scores nothing anew."""
        return TaskConfiguration.model_validate(self.model_dump(exclude={"min_recovery"}))


class Size(_Gate):
    """Bytes of weights over the original's."""

    max_ratio: Fraction = Field(0.75, gt=0)


class Speed(_Gate):
    """Decoded tokens per second over the original's, measured in one run on this machine."""

    min_ratio: Fraction = Field(1.0, gt=0)


class Gates(_Gate):
    """All that must hold before a release. A gate that is absent is not judged; loading and generating always is."""

    divergence: Divergence | None = Divergence()
    perplexity: Perplexity | None = Perplexity()
    agreement: Agreement | None = None
    tasks: dict[str, Task] = {}
    size: Size | None = Size()
    speed: Speed | None = None
    confidence: Fraction = Field(0.95, gt=0.5, lt=1)
    """One-sided confidence with which a tolerance must hold."""
