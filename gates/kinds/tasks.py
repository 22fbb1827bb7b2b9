"""Gate `tasks.<name>`: what is kept of the original's score on a task of lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from gates.evidence import Evidence
from gates.judging.fraction import Fraction
from gates.judging.gate import Gate
from gates.judging.judgement import Wording, row
from gates.results import GateVerdict

_WORDING = Wording(
    side="at least",
    words="recovery",
    number="{:.2%}",
    label="Recovery",
    figure="{:.1%}",
    unit="items",
    cell="{value:.1%}",
)


class TaskConfiguration(BaseModel):
    """What decides a task's score: part of the key of everything scored with it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    file: str | None = None
    """The task as a YAML file of lm-evaluation-harness; None: a task that the harness carries, by its name."""
    fewshot: int | None = Field(None, ge=0)
    """Solved examples shown before each item; None: as many as the task says."""
    items: int | None = Field(None, ge=1)
    """The first so many items only; None: all."""
    chat_template: bool = False
    """Whether items are put to the model as a conversation."""


class Task(TaskConfiguration, Gate):
    """Recovery: the artifact's score over the original's on the same items of one lm-evaluation-harness task."""

    min_recovery: Fraction = Field(0.98, gt=0)

    def configuration(self) -> TaskConfiguration:
        """Leave the tolerance out: another one scores nothing anew."""
        return TaskConfiguration.model_validate(self.model_dump(exclude={"min_recovery"}))

    def judge(self, name: str, evidence: Evidence, confidence: float) -> Iterator[GateVerdict]:
        """Judge the recovery over items."""
        from gates.statistics.recovery import recovery

        task = name.partition(".")[2]
        scores = evidence.tasks.get(task)
        wording = replace(_WORDING, words=f"recovery on {task}", label=f"Recovery on {task}", column=task)
        yield row(name, wording, recovery(scores, confidence) if scores else None, self.min_recovery)
