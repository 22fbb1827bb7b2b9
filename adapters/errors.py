"""What goes wrong when the input is at fault."""

from __future__ import annotations

from catalog.errors import InputError


class AdapterError(InputError):
    """The base, the recipe or the text is at fault; the message is the paragraph the user reads."""
