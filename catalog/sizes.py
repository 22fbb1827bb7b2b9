"""Sizes for a person."""

from __future__ import annotations


def in_words(size: int) -> str:
    """Return bytes in kB, MB or GB, of a thousand each."""
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if size >= unit:
            return f"{size / unit:,.2f} {name}"
    return f"{size / 1e3:,.1f} kB"
