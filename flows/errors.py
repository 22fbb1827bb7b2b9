"""Errors a user can mend; the message is one paragraph: what, where, what to do."""

from __future__ import annotations

from catalog.errors import InputError


class DocumentError(InputError):
    """A data file that does not hold what its name and the manifest say; `str()` says what, where and what is allowed."""


class FetchError(InputError):
    """A model or text that is there but is not what the manifest says."""


class UsageError(InputError):
    """A command that cannot be carried out as given."""
