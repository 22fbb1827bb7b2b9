"""How a user loads a release with the stock client of its format: code that cards show, pulls print and tests run."""

from __future__ import annotations

import json
from pathlib import Path

from catalog.formats import FORMATS
from catalog.tasks import TASKS

LOCAL = """\
import os

os.environ["HF_HOME"] = {home}
os.environ["HF_HUB_OFFLINE"] = "1"
"""


def snippet(format_: str, task: str, name: str, version: str | None = None, home: Path | None = None) -> str:
    """Python that loads and runs a release, by name or from a directory, whose path is absolute.

    `version` pins it; `home` is the store whose local hub holds it, when it is not to come from the Hub.
    """
    row = FORMATS[format_]
    code = TASKS[task].clients[row.client.module].snippet
    where = ", ".join((_where(name, version), *(f"{key}={_literal(value)}" for key, value in row.options)))
    directory = _literal(name) if Path(name).is_absolute() else f"snapshot_download({_where(name, version)})"
    if "{directory}" in code and not Path(name).is_absolute():
        code = f"from huggingface_hub import snapshot_download\n{code}"
    code = code.format(where=where, directory=directory)
    return code if home is None else f"{LOCAL.format(home=_literal(str(home)))}\n{code}"


def runtimes(format_: str, name: str) -> list[tuple[str, str, str]]:
    """Other programs that run a release: name, package, and Python that runs it."""
    return [
        (each.name, each.package, each.snippet.format(where=_where(name, None))) for each in FORMATS[format_].runtimes
    ]


def _where(name: str, version: str | None) -> str:
    return _literal(name) if version is None else f"{_literal(name)}, revision={_literal(version)}"


def _literal(text: str) -> str:
    """A Python string in double quotes; JSON's escapes are Python's."""
    return json.dumps(text, ensure_ascii=False)
