"""How a user loads a release with the stock client of its format: code that cards show, pulls print and tests run."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from catalog.format import TRANSFORMERS
from catalog.formats import RELEASED
from catalog.runtime import RuntimeOptions
from catalog.tasks import TASKS
from publishers.request import Subject

LOCAL = """\
import os

os.environ["HF_HOME"] = {home}
os.environ["HF_HUB_OFFLINE"] = "1"
"""


def snippet(
    format_: str,
    task: str,
    name: str,
    version: str | None = None,
    home: Path | None = None,
    *,
    runtime: RuntimeOptions | None = None,
    architectures: Sequence[str] = (),
) -> str:
    """Python that loads and runs a release, by name or from a directory, whose path is absolute.

    `version` pins it; `home` is the store whose local hub holds it, when it is not to come from the Hub; `runtime` is what it
    was judged with; `architectures` are those that its config.json names.
    """
    row, runtime = RELEASED[format_], runtime or RuntimeOptions()
    elsewhere = runtime.device != "CPU"
    arguments = {row.client.device: runtime.device} if elsewhere else {}
    code = TASKS[task].used(architectures)[row.client.module].snippet
    where = ", ".join((_where(name, version), *(f"{key}={_literal(value)}" for key, value in row.options)))
    directory = _literal(name) if Path(name).is_absolute() else f"snapshot_download({_where(name, version)})"
    if "{directory}" in code and not Path(name).is_absolute():
        code = f"from huggingface_hub import snapshot_download\n{code}"
    further = "".join(f", {key}={_python(value)}" for key, value in (arguments | runtime.arguments(row)).items())
    placed = ".to(model.device)" if elsewhere and row.client is TRANSFORMERS else ""
    code = code.format(where=where, directory=directory, runtime=further, placed=placed)
    return code if home is None else f"{LOCAL.format(home=_literal(str(home)))}\n{code}"


def runtimes(
    format_: str, task: str, name: str, runtime: RuntimeOptions, files: Collection[str], model_type: str | None
) -> list[tuple[str, str, str]]:
    """Other programs that run a release of these files: name, package, and Python that runs it as it was judged."""
    row, told = RELEASED[format_], _told(format_, runtime)
    return [
        (each.name, each.package, each.snippet.format(where=_where(name, None), **told))
        for each in row.runtimes
        if each.task == task and (each.needs is None or each.needs in files)
        if not each.architectures or model_type in each.architectures
    ]


def drafted(subject: Subject) -> list[tuple[str, str, str]]:
    """The program that runs a release with its draft, likewise; none without a draft. The draft is pinned to its commit."""
    program, draft = RELEASED[subject.format].drafts, subject.draft
    if program is None or draft is None:
        return []
    guessing = {"draft": _where(draft.name, draft.commit), "candidates": draft.candidates}
    told = _told(subject.format, subject.runtime)
    return [
        (program.name, program.package, program.snippet.format(where=_where(subject.name, None), **told, **guessing))
    ]


def _told(format_: str, runtime: RuntimeOptions) -> dict[str, str]:
    """Device and properties, as further arguments, that a release was judged with."""
    properties = runtime.arguments(RELEASED[format_]).get("ov_config", {})
    further = "".join(f", {key}={_python(value)}" for key, value in properties.items())
    return {"device": _literal(runtime.device), "properties": further}


def _where(name: str, version: str | None) -> str:
    return _literal(name) if version is None else f"{_literal(name)}, revision={_literal(version)}"


def _python(value: Any) -> str:
    """A string, number, truth or mapping as Python."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_python(each)}" for key, each in value.items()) + "}"
    return _literal(value) if isinstance(value, str) else repr(value)


def _literal(text: str) -> str:
    """A Python string in double quotes; JSON's escapes are Python's."""
    return json.dumps(text, ensure_ascii=False)
