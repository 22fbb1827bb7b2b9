"""What was measured of an adapter on its base. Imports no torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from catalog.formats import ADAPTER
from catalog.tasks import TaskName
from gates.evidence import Check, Document, Sample, Summary

SANITY = ("files", "base", "loads", "finite")
"""Checks that every adapter must hold, in the order they are made; an absent one counts as failed."""


class AdapterEvidence(BaseModel):
    """`OUT_DIR/evidence.json` of an `adapter` step: in every document the original is the base, the artifact base and adapter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: TaskName = "text-generation"
    format: str = ADAPTER.name
    loader: str
    """The stock class that loaded base and adapter."""
    row_tokens: int
    """Tokens per document at most."""
    held_out: tuple[Document, ...]
    """Documents of the task that were not trained on."""
    general: tuple[Document, ...]
    """Documents of anything else."""
    control: tuple[Document, ...]
    """The first of `held_out` under a copy of the adapter whose matrices have their rows in reverse: known to be bad."""
    held_out_summary: Summary | None
    """None when the adapter could not be scored; the checks say why."""
    general_summary: Summary | None
    checks: tuple[Check, ...]
    samples: tuple[Sample, ...] = ()
    base_bytes: int
    adapter_bytes: int
    """Bytes of the weight files."""
    runtime: dict[str, str] = Field(default_factory=dict)
    """How the loader computed."""
    tools: dict[str, str] = Field(default_factory=dict)
    """Library → version, of all that had a hand in the numbers."""
