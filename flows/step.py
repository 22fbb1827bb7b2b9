"""A step: one piece of work that is done once for its inputs, and where the store keeps what it reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from flows.files.fingerprint import fingerprint

Result = TypeVar("Result", bound=BaseModel)


@dataclass(frozen=True)
class Kind(Generic[Result]):
    """A kind of step, and the model of what such a step reports."""

    name: str
    result: type[Result]
    """What its records hold; one that does not parse as this counts as missing."""
    program: str = ""
    """Module that does it in a process of its own; empty for what is worked out in place."""
    imports: bool = False
    """Whether that imports what `flows.execution.template` has imported, and reads no variable while it does."""

    def at(self, key: str) -> Entry[Result]:
        """Return where the store keeps the step of that key."""
        return Entry(self, key)

    def step(self, inputs: dict[str, Any]) -> Step[Result]:
        """Return the step that depends on `inputs` and nothing else."""
        return Step(self, fingerprint({"step": self.name, **inputs}), inputs)


@dataclass(frozen=True)
class Entry(Generic[Result]):
    """The place of a step in the store, which is the step's identity."""

    kind: Kind[Result]
    key: str
    """sha256 over the kind and all inputs."""

    @property
    def path(self) -> Path:
        """Where it is below the store."""
        return Path(self.kind.name, self.key)

    @property
    def name(self) -> str:
        """The same as the name of one file."""
        return f"{self.kind.name}-{self.key}"


@dataclass(frozen=True)
class Step(Entry[Result]):
    """One piece of work, with all that its key is made of."""

    inputs: dict[str, Any] = field(compare=False, repr=False)
