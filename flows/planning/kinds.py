"""The kinds of steps, and what each reports. A field added to a result needs a default, or a raised step version."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from adapters.request import Trained
from flows.step import Kind
from gates.results import Baseline, EvidenceResult, Overlap, Verdict
from publishers.request import Result as Published
from quantizers.request import Made, SensitivityResult, Statistics


class Fetched(BaseModel):
    """A model of the Hub that is on this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    directory: Path


class Documents(BaseModel):
    """Documents that are on this machine, one JSON object a line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    documents: int
    characters: int


class Artifact(Made):
    """One target of a run of `quantizers`, which several may have shared."""

    tools: dict[str, str]
    """Versions of every library that had a hand in the bits."""
    compute: str
    """Compute dtype and instruction set used."""
    made_together: int
    """Targets of that run."""
    place: str
    """Name of this one in the run's request."""


class Judged(Verdict):
    """A verdict, and what it is about."""

    evidence: str
    """Key of the evidence it was judged by."""
    content: str
    """Fingerprint of the artifact's bytes."""

    @property
    def verdict(self) -> Verdict:
        """The verdict alone."""
        return Verdict.model_validate(self.model_dump(exclude={"evidence", "content"}))


FETCH = Kind("fetch", Fetched, "flows.execution.fetch")
TEXTS = Kind("texts", Documents, "flows.execution.fetch")
CONTAMINATION = Kind("contamination", Overlap)
BASELINE = Kind("baseline", Baseline, "gates", imports=True)
SENSITIVITY = Kind("sensitivity", SensitivityResult, "quantizers", imports=True)
STATISTICS = Kind("statistics", Statistics, "quantizers")
QUANTIZE = Kind("quantize", Artifact, "quantizers", imports=True)
EVIDENCE = Kind("evidence", EvidenceResult, "gates", imports=True)
CONTROL = Kind("control", EvidenceResult, "gates", imports=True)
VERDICT = Kind("verdict", Judged)
TRAIN = Kind("train", Trained, "adapters")
ADAPTER_EVIDENCE = Kind("adapter-evidence", EvidenceResult, "gates")
ADAPTER_VERDICT = Kind("adapter-verdict", Judged)
PUBLISH = Kind("publish", Published, "publishers")
