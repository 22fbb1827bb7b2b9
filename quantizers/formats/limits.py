"""Which models a format that is made from another one cannot hold, for the plan to tell. Imports no torch.

`quantizers.formats.<name>.limits` says it, from what headers, configuration and tokenizer show; `Exporter.require` asks the
model itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from catalog.formats import FORMATS
from catalog.tasks import TASKS


@dataclass(frozen=True)
class Facts:
    """What is known of a model before any work."""

    directory: Path | None
    """Where its files are; None: not on this machine yet."""
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    """Tensor of the checkpoint → its shape."""
    inputs: Mapping[str, int]
    """Linear → input features, as far as they are known."""
    task: str
    """What the model is asked to do."""
    streams: bool
    """Whether the engine makes the format from an artifact of another one; else it writes it by itself."""

    @property
    def kind(self) -> str:
        """Its model type."""
        return str(self.config["model_type"])


class Limits(Protocol):
    """The module `limits` of a format."""

    def refusal(self, facts: Facts) -> str | None:
        """Return why the format cannot hold a model, without advice, or None."""


def refusal(format_: str, facts: Facts) -> str | None:
    """Return why a format cannot hold a model, without advice, or None."""
    row, task = FORMATS[format_], TASKS[facts.task]
    named = facts.config.get("architectures") or ()
    if row.client.module not in task.used(named):
        alone = " with an encoder alone" if task.used(named) is task.lone else ""
        return f"format {format_} is loaded by {row.client.module}, which is used for no {task.words}{alone} here"
    if row.architectures and facts.kind not in row.architectures:
        return f"format {format_} holds model types {', '.join(row.architectures)}, and this is {facts.kind!r}"
    if row.made_from is None and row.interpreter is None:
        return None
    return cast(Limits, import_module(f"quantizers.formats.{format_.replace('-', '_')}.limits")).refusal(facts)
