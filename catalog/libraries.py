"""The distributions that have a hand in bits or scores, and their installed versions: parts of keys and of records."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from catalog.engines import ENGINES
from catalog.formats import FORMATS, LOADABLE, ORIGINAL, RELEASED
from catalog.interpreters import INTERPRETERS
from catalog.tasks import TASKS

COMPUTING = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "jinja2")
"""Of every step that runs a model."""


def making(engine: str, format_: str, task: str | None = None) -> tuple[str, ...]:
    """Libraries that decide what an artifact is; with a task, those that read its files besides."""
    made_from = FORMATS[format_].made_from if ENGINES[engine].streams else None
    source = FORMATS[made_from].libraries if made_from else ()
    reading = TASKS[task].libraries if task else ()
    return (*COMPUTING, *FORMATS[format_].libraries, *ENGINES[engine].libraries, *source, *reading)


def scoring(format_: str = ORIGINAL.name, task: str | None = None) -> tuple[str, ...]:
    """Libraries that decide how an artifact of a format scores at a task, or the original."""
    return (*COMPUTING, *LOADABLE[format_].libraries, *(TASKS[task].libraries if task else ()))


def known() -> frozenset[str]:
    """All of them, whatever the engine or format."""
    rows = [row.libraries for table in (ENGINES.values(), RELEASED.values(), TASKS.values()) for row in table]
    return frozenset(COMPUTING).union(*rows)


def versions(libraries: tuple[str, ...]) -> dict[str, str]:
    """Installed versions, by name, in order of the names."""
    return {name: installed(name) for name in sorted(libraries)}


@cache
def installed(name: str) -> str:
    """Installed version of a distribution, or `absent`; of an interpreter beside ours, what its pinned files come to."""
    if name in INTERPRETERS:
        return INTERPRETERS[name].identity
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def source(package: str, *path: str) -> str | None:
    """The text of one file of a package that is not imported for it: importing takes seconds and hundreds of megabytes."""
    spec = find_spec(package)
    for directory in (spec and spec.submodule_search_locations) or ():
        file = Path(directory, *path)
        if file.is_file():
            return file.read_text("utf-8")
    return None
