"""The token of the Hub, and what a token looks like."""

from __future__ import annotations

import os
import re

from catalog.errors import InputError
from catalog.secrets import TOKENS

_SHORTEST = 8
_VISIBLE = re.compile(r"[!-~]")


def hub_token() -> str | None:
    """Return the token in HF_TOKEN, or None. Raises InputError, without quoting it, for what cannot be one."""
    check_tokens()
    return os.environ.get("HF_TOKEN", "").strip() or None


def check_tokens() -> None:
    """Raise InputError when a variable for a token holds what cannot be one: its client would send it, and quote it."""
    for name in TOKENS:
        value = os.environ.get(name, "").strip()
        if value and (oddity := _oddity(value)):
            raise InputError(
                f"{name} does not hold a token: {oddity}. Copy the token again, whole and without quotes, from where it "
                f"was made, or unset {name}."
            )


def _oddity(value: str) -> str | None:
    position = next((position for position, char in enumerate(value) if not _VISIBLE.fullmatch(char)), None)
    if position is not None:
        char = value[position]
        kind = "a line break" if char in "\r\n" else "a space" if char == " " else f"U+{ord(char):04X}"
        return f"character {position + 1} of {len(value)} is {kind}"
    return f"it has {len(value)} characters" if len(value) < _SHORTEST else None
