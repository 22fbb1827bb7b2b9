"""What can go wrong, by what has to change before it goes right. How a command ends and whether to try again are the class's.

Every error of ours derives from one of four kinds; a new one needs no more than a base and a docstring. Where a step's
process ended with an error, its kind is raised again on this side.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from catalog.secrets import scrub


class Fault(Exception):
    """An error that was foreseen. `str()` is one paragraph for the user: what, where, what to do; it quotes no secret."""

    fault: ClassVar[str]
    """Its name in records, and between a step's process and ours."""
    exit_code: ClassVar[int]
    """How a command ends with it."""
    label: ClassVar[str] = "Error"
    """What the paragraph begins with on the terminal."""
    retried: ClassVar[bool] = False
    """Whether a step that uses the network is tried again at once: what failed may work in half a minute."""
    quarantines: ClassVar[bool] = True
    """Whether a step that keeps failing so is left alone after a few nights."""

    def __init__(self, message: str, *, log: Path | None = None) -> None:
        super().__init__(scrub(message))
        self.log = log
        """What the step's process wrote, when it ended with this."""


class InputError(Fault, ValueError):
    """What was given is at fault: the manifest, the model, a text, a name, a token. The same again fails again."""

    fault = "input"
    exit_code = 2


class StepFault(Fault, RuntimeError):
    """The work itself failed, for a reason that nobody foresaw."""

    fault = "step"
    exit_code = 3
    retried = True


class EnvironmentFault(Fault, RuntimeError):
    """The machine is at fault: its disk, memory, devices, packages or permissions. Says nothing about a model."""

    fault = "environment"
    exit_code = 4
    label = "This machine"
    quarantines = False


class KilledFault(EnvironmentFault):
    """A step's process was ended from outside, most often because memory ran out: with the same memory it will be again."""

    fault = "killed"
    quarantines = True


class NetworkFault(EnvironmentFault):
    """A server, or the way to it, is away; nothing is wrong with what was asked, and asking again is safe."""

    fault = "network"
    label = "The network"
    retried = True


FAULTS: dict[str, type[Fault]] = {
    kind.fault: kind for kind in (InputError, StepFault, EnvironmentFault, KilledFault, NetworkFault)
}
"""By the name that records hold."""
