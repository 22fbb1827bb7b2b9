"""What the door takes: one passing artifact, what is known of it, and where it goes. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from catalog.destinations import checked
from catalog.formats import ReleasedName
from catalog.runtime import RuntimeOptions
from catalog.tasks import TaskName

Address = Annotated[str, AfterValidator(checked)]
"""A destination as `catalog.destinations` lists them."""


class Source(BaseModel):
    """The model the weights were read from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Short name, such as `phi-3-mini`."""
    id: str | None
    """Hub id such as `microsoft/Phi-3-mini-4k-instruct`; None for a model read from a directory."""
    revision: str
    """40-hex commit, or `sha256:…` over the contents of a directory."""
    directory: Path
    """Where its files are now: license, notice and card metadata are read from here."""


class Equal(BaseModel):
    """The recipe that is kept up and stores the same as an archived one, and what was measured of both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    recipe: dict[str, Any]
    target: str | None = None
    """The target that was gated in the same manifest; None: none was, and nothing below is known."""
    documents: int = 0
    """That both were scored on."""
    harm: str | None = None
    """What is compared: the measure that says how far an artifact is from its original."""
    own: float | None = None
    theirs: float | None = None
    bytes: int | None = None
    """Of its weight files."""


class Draft(BaseModel):
    """The release that guesses tokens for it in speculative decoding."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    commit: str
    """40-hex: what was measured is about this one."""
    written: str
    """What the target calls it."""
    candidates: int
    """Tokens that it guesses at a time."""


class Subject(BaseModel):
    """One artifact with its evidence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """`{namespace}/{model}-{target}`."""
    target: str
    artifact: Path
    """Directory that a stock loader reads."""
    files: dict[str, str]
    """Path → sha256 of every file in `artifact`, as the step that made it recorded them."""
    source: Source
    format: ReleasedName
    task: TaskName = "text-generation"
    runtime: RuntimeOptions = RuntimeOptions()
    """What it was judged with."""
    draft: Draft | None = None
    recipe: dict[str, Any]
    """The explicit recipe."""
    calibration: dict[str, Any] | None
    """Source, samples, tokens and content hash, when the recipe read any."""
    evaluation: dict[str, Any]
    """Source, documents, tokens and content hash of the held-out text."""
    evidence: dict[str, Any]
    """What `gates` measured (`gates.evidence.Evidence`)."""
    verdict: dict[str, Any]
    """What `gates` concluded (`gates.judging.verdict.Verdict`); must say `passed: true`."""
    tools: dict[str, str]
    """Library → version."""
    key: str
    """The job's key."""
    equal: Equal | None = None
    """Of an artifact in an archived format: what to take instead."""
    instructions: str | None = None
    """Instruction set such as `AVX512`, of an artifact whose bytes are for CPUs that have it (`catalog.format.Format.bound`)."""


class Request(BaseModel):
    """One run of `python -m publishers REQUEST.json OUT_DIR`; `OUT_DIR/result.json` is written last."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: Subject
    to: tuple[Address, ...] = ("local",)
    """Destinations, in this order."""
    home: Path
    """The store's directory; the local hub is `home/hub`."""
    private: bool = True
    """Visibility of a repository on a server."""


class Place(BaseModel):
    """One place the release is in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: Address
    version: str
    """`v1`, `v2`, …"""
    commit: str
    """40-hex commit; the version's tag points at it."""
    url: str
    """Page of the version on the Hub; path of the snapshot elsewhere, in the local hub below `home`."""


class Result(BaseModel):
    """`OUT_DIR/result.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    places: tuple[Place, ...] = Field(min_length=1)
    files: dict[str, str]
    """Path → sha256 of every file in the release."""
