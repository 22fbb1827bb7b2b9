"""What is raised when a request, text or artifact handed to the gates is at fault."""

from __future__ import annotations

from catalog.errors import InputError


class GateError(InputError):
    """The input is at fault; the message is the paragraph the user reads: what, where, what to do."""
