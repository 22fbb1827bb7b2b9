"""The terminal: where things are printed, in whatever characters it can show."""

from __future__ import annotations

import codecs
import io
import json
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

# Paths and messages are printed as they are: brackets in them are no markup, and numbers are not coloured.
out = Console(markup=False, highlight=False)
err = Console(markup=False, highlight=False, stderr=True)
OK, NOT_OK = Text("✓", "green"), Text("✗", "red")

# One column each, so that tables stay in line.
_PLAIN = str.maketrans("✓✗●•·×→←≤≥–—…“”‘’", "+x**.x><<>--~\"\"''")


def print_json(value: Any) -> None:
    """Print for a program: JSON and nothing else, in ASCII, which every encoding holds."""
    print(json.dumps(value, indent=1))


def show_whatever_the_encoding() -> None:
    """Have characters that the terminal's encoding lacks shown as near ones: work that is done is never lost to a tick."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wanted = error.object[error.start : error.end].translate(_PLAIN)
    return "".join(character if character.isascii() else "?" for character in wanted), error.end
