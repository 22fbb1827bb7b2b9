"""What is known so far of an artifact; filled in order, and complete whatever the artifact does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from catalog.errors import Fault
from catalog.foreign_errors import machine_fault
from gates.evidence import Activations, Check, Document, Sample, Speed, TaskScores


@dataclass
class Findings:
    """Checks, scored rows and whatever else was measured."""

    checks: dict[str, Check] = field(default_factory=dict)
    documents: list[Document] = field(default_factory=list)
    chat: list[Document] = field(default_factory=list)
    samples: tuple[Sample, ...] = ()
    speed: Speed | None = None
    activations: Activations | None = None
    tasks: dict[str, TaskScores] = field(default_factory=dict)
    measured: dict[str, tuple[Document, ...]] = field(default_factory=dict)
    runtime: dict[str, str] = field(default_factory=dict)

    def add(self, check: Check) -> bool:
        """Note a check; whether it passed."""
        self.checks[check.name] = check
        return check.passed

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Make the check `name`; what the artifact raises on the way fails it, a machine or a request at fault does not."""
        try:
            yield
        except Fault:
            raise
        except Exception as error:
            if fault := machine_fault(error):
                raise fault from error
            text = " ".join(str(error).split())[:300]
            self.add(Check(name=name, passed=False, detail=f"{type(error).__name__}: {text}"))
