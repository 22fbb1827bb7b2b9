"""Which models become no OpenVINO IR, from headers and the source of optimum-intel. Imports no torch."""

from __future__ import annotations

import re
from functools import cache

from packaging.version import Version

from catalog.libraries import installed, source
from catalog.tasks import TASKS
from quantizers.families.mixture import MATRICES
from quantizers.formats.limits import Facts

_CLASS = re.compile(r"^class (\w+)\(([^)]*)\):", re.MULTILINE)
_VERSION = re.compile(r'^    (MIN|MAX)_TRANSFORMERS_VERSION = "([^"]+)"', re.MULTILINE)
_REGISTERED = re.compile(r'^@register_in_tasks_manager\(\s*"([^"]+)",(.*?)^class (\w+)', re.MULTILINE | re.DOTALL)
_LIST = re.compile(r"^(\w*TASKS\w*) = \[(.*?)^\]", re.MULTILINE | re.DOTALL)
_LIBRARY = re.compile(r'library_name="(\w+)"')
_NUMBERED = re.compile(r"\.\d+\.")
"""In names of what is in a block."""
_EXPERT = re.compile(r"\.experts\.\d+\.\w+\.weight$")


def refusal(facts: Facts) -> str | None:
    """Return why a model cannot be written as IR, or None."""
    task = TASKS[facts.task]
    types = exported(task.export)
    if types is not None and facts.kind not in types:
        versions = f"optimum-intel {installed('optimum-intel')} with transformers {installed('transformers')}"
        return f"{versions} exports no model_type {facts.kind!r} for {task.words}"
    if not facts.streams:
        return (
            f"no engine but streaming writes the {len(task.graphs)} graphs of a {facts.kind}"
            if task.graphs[1:]
            else None
        )
    # Before the blocks stand a token that is put before those of an image, and the convolutions of a Whisper.
    deep = (name for name, shape in facts.shapes.items() if len(shape) == 3 and shape[0] > 1 and _NUMBERED.search(name))
    stacked = next(deep, None)
    if stacked or (facts.kind not in MATRICES and any(map(_EXPERT.search, facts.shapes))):
        what = f"{stacked} is no matrix" if stacked else "it is a mixture of experts of a kind not known here"
        return f"cannot be written as OpenVINO IR from a {facts.kind}: {what}"
    odd = next((name for name, size in facts.inputs.items() if size % 2), None)
    if odd:
        return (
            f"{odd} has {facts.inputs[odd]} inputs, an odd number, which OpenVINO's 4-bit types cannot hold row by row"
        )
    return None


@cache
def exported(task: str) -> frozenset[str] | None:
    """Model types that optimum-intel exports for a task, by its own name, with the transformers that is installed."""
    text = source("optimum", "exporters", "openvino", "model_configs.py") or ""
    classes = {match[1]: match for match in _CLASS.finditer(text)}
    if not classes:
        return None
    starts = [match.start() for match in classes.values()]
    ends = dict(zip(classes, [*starts[1:], len(text)], strict=True))
    own = {name: dict(_VERSION.findall(text[match.end() : ends[name]])) for name, match in classes.items()}

    def bound(name: str, which: str) -> str | None:
        if name not in classes:
            return None
        bases = (base.strip() for base in classes[name][2].split(","))
        return own[name].get(which) or next((inherited for base in bases if (inherited := bound(base, which))), None)

    ours = Version(installed("transformers")) if installed("transformers") != "absent" else None
    lists = _lists(text)
    kinds = set()
    for kind, tasks, name in _REGISTERED.findall(text):
        if (library := _LIBRARY.search(tasks)) and library[1] != "transformers":
            continue
        least, most = bound(name, "MIN"), bound(name, "MAX")
        within = ours is None or ((not least or Version(least) <= ours) and (not most or ours <= Version(most)))
        # Tasks are written out, or are one of the exporter's lists.
        listed = any(name in tasks for name, members in lists.items() if task in members)
        if (f'"{task}"' in tasks or listed) and within:
            kinds.add(kind)
    return frozenset(kinds) or None


def _lists(text: str) -> dict[str, frozenset[str]]:
    """The exporter's lists of tasks; a list may hold one above it."""
    lists: dict[str, frozenset[str]] = {}
    for name, members in _LIST.findall(text):
        own = frozenset(re.findall(r'"([\w-]+)"', members))
        lists[name] = own.union(*(lists[other] for other in re.findall(r"\*(\w+)", members) if other in lists))
    return lists
