"""Where a job stands, and why a step is left alone. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flows.machine_memory import memory_bytes
from flows.manifest.model import Rung
from flows.planning.jobs import Job
from flows.planning.memory import Reason
from flows.step import Step
from flows.store import Failure, Store

State = Literal["released", "passed", "failed", "undecided", "stale", "quarantined"]
JUDGED: tuple[State, ...] = ("released", "passed", "failed", "undecided")
"""States in which there is nothing to do."""
GOOD: tuple[State, ...] = ("released", "passed")
"""Those of what passed its gates."""
QUARANTINE = 3
"""Failed attempts in a row after which a step is left alone until `--retry`."""


@dataclass(frozen=True)
class Planned:
    """A job and what the store knows of it."""

    job: Job
    state: State
    """`released`: out, as it would be made today.
    `passed`: judged, and the manifest does not release it. `failed`, `undecided`: judged, and not released. `stale`: there is
    work to do. `quarantined`: left alone until `--retry`."""
    steps: tuple[str, ...]
    """Steps that will run, in order; after a ladder's rung failed, the next rung's steps come on top."""
    reason: Reason
    rung: Rung
    """The rung released, refused, or next to try."""
    left: tuple[Step[Any], ...] = ()
    """Of `steps`, those up to the artifact, with their keys; what comes then depends on its bytes."""

    @property
    def why(self) -> str:
        """Why it stands there, in a sentence."""
        return self.reason.sentence

    @property
    def fresh(self) -> bool:
        """Whether there is nothing to do."""
        return self.state in JUDGED


def quarantined(step: Step[Any], store: Store) -> Reason | None:
    """Return why a step is left alone: it failed too often, and this machine has no more memory than before."""
    failure = store.failed(step)
    if failure is None or failure.attempts < QUARANTINE or _has_more_memory(failure):
        return None
    kind, remedy = f"{step.kind.name} failed {failure.attempts} times", "run with --retry to try again"
    if failure.memory_bytes is not None:
        remedy += f", or where there is more memory than {failure.memory_bytes / 1e9:.1f} GB"
    return Reason(f"{kind} ({failure.message}); {remedy}", kind)


def _has_more_memory(failure: Failure) -> bool:
    """Whether this machine has more memory, by a tenth, than the one on which a step's process was killed."""
    return failure.memory_bytes is not None and memory_bytes() > 1.1 * failure.memory_bytes
