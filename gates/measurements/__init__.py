"""What is measured for one gate alone, when a manifest asks for it: a module each, by the gate's name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from gates.clients.client import Loaded
from gates.evaluation.findings import Findings
from gates.evidence import Document
from gates.tasks.contract import Asked, Data


class Measurement(Protocol):
    """A module that measures."""

    def original(self, loaded: Loaded, data: Sequence[Data], asked: Asked, settings: dict[str, Any]) -> None:
        """Run the original, and store below the baseline what artifacts are held against.

        Raises GateError for what cannot be measured with this model and text.
        """

    def artifact(
        self, loaded: Loaded, asked: Asked, settings: dict[str, Any], findings: Findings
    ) -> tuple[Document, ...]:
        """Run an artifact and hold it against the original; return what the gate judges. Raises NotFinite."""


def measurement(name: str) -> Measurement:
    """The module of a gate."""
    return cast(Measurement, import_module(f"gates.measurements.{name}"))
