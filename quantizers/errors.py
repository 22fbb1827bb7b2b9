"""What goes wrong when the input is at fault."""

from __future__ import annotations

from catalog.errors import InputError


class QuantizeError(InputError):
    """The model, the recipe or the calibration text is at fault; the message is the paragraph the user reads."""


def some(names: tuple[str, ...]) -> str:
    """The first of some names, and how many more there are."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
