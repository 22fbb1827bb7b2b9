"""Errors a user can mend; the message is one paragraph: what, where, what to do."""

from __future__ import annotations

from catalog.errors import EnvironmentFault, InputError


class DocumentError(InputError):
    """A data file that does not hold what its name and the manifest say; `str()` says what, where and what is allowed."""


class FetchError(InputError):
    """A model or text that is there but is not what the manifest says."""


class UsageError(InputError):
    """A command that cannot be carried out as given."""


class LeftOut(EnvironmentFault):
    """A target for a device of another machine, which a run does not try; it does the others."""

    def __init__(self, release: str, why: str) -> None:
        super().__init__(f"{release}: {why}")
        self.release = release
        self.why = why
