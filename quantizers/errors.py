"""What goes wrong when the input is at fault."""

from __future__ import annotations


class QuantizeError(ValueError):
    """The model, the recipe or the calibration text is at fault; the message is the paragraph the user reads."""
