"""What goes wrong when the input is at fault."""

from __future__ import annotations

from catalog.errors import InputError


class QuantizeError(InputError):
    """The model, the recipe or the calibration text is at fault; the message is the paragraph the user reads."""
