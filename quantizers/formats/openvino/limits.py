"""Which models become no OpenVINO IR, from headers and the source of optimum-intel. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from packaging.version import Version

from catalog.libraries import installed, source
from catalog.task import Task
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
_NOT_KEPT = {
    "clip_text_model": "without the attention mask that its stock client gives it",
    "longt5": "for texts of one length: its local attention is traced as constants",
    "mobilebert": "with a second copy of its embeddings, which no recipe compresses: its head puts two matrices together",
}
"""Model types whose graph is not the model's."""
_SEE = ("llava",)
"""Model types whose graphs, of several that one model is exported as, are known here."""
_EXPERT = re.compile(r"\.experts\.\d+\.\w+\.weight$")


def refusal(facts: Facts) -> str | None:
    """Return why a model cannot be written as IR, or None."""
    task = TASKS[facts.task]
    if text := unexported(facts.kind, task):
        return text
    if text := not_kept(facts.kind, task):
        return text
    if task.graphs[2:] and facts.kind not in _SEE:
        return (
            f"of models for {task.words} the graphs of {', '.join(_SEE)} are written, and not those of a {facts.kind}"
        )
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


def not_kept(kind: str, task: Task) -> str | None:
    """Return why the graph of a model type is not the model's, or None."""
    if kind not in _NOT_KEPT or (kind == "mobilebert" and not task.logits):
        return None
    return f"optimum-intel exports a {kind} {_NOT_KEPT[kind]}"


def unexported(kind: str, task: Task) -> str | None:
    """Return why optimum-intel does not export a model type for a task, with the versions that are installed, or None."""
    types = exported(task.export)
    if types is None or kind in types:
        return None
    versions = f"optimum-intel {installed('optimum-intel')} with transformers {installed('transformers')}"
    bounds = {each.words for each in exports() if each.kind == kind and task.export in each.tasks}
    taken = f"; it wants transformers {' or '.join(sorted(bounds))} for it" if bounds else ""
    return f"{versions} exports no model_type {kind!r} for {task.words}{taken}"


@dataclass(frozen=True)
class Export:
    """A model type that optimum-intel exports."""

    kind: str
    tasks: frozenset[str]
    """By its own names."""
    least: str | None
    most: str | None
    """Versions of transformers; None: any."""

    def takes(self, version: str) -> bool:
        """Whether a version of transformers is one of its own."""
        ours = Version(version)
        return (not self.least or Version(self.least) <= ours) and (not self.most or ours <= Version(self.most))

    @property
    def words(self) -> str:
        """The versions in a sentence."""
        if self.least and self.most and Version(self.most) < Version(self.least):
            return f"from {self.least} and up to {self.most}, which is none,"
        ends = (f"from {self.least}" if self.least else "", f"up to {self.most}" if self.most else "")
        return " ".join(filter(None, ends)) or "of any version"


@cache
def exported(task: str) -> frozenset[str] | None:
    """Model types that optimum-intel exports for a task, by its own name, with the transformers that is installed."""
    ours = installed("transformers")
    kinds = {each.kind for each in exports() if task in each.tasks and (ours == "absent" or each.takes(ours))}
    return frozenset(kinds) or None


def exports() -> tuple[Export, ...]:
    """All that the installed optimum-intel exports of transformers, with any version of that; empty: its source says nothing."""
    return _read(source("optimum", "exporters", "openvino", "model_configs.py") or "")


@cache
def _read(text: str) -> tuple[Export, ...]:
    classes = {match[1]: match for match in _CLASS.finditer(text)}
    starts = [match.start() for match in classes.values()]
    ends = dict(zip(classes, [*starts[1:], len(text)], strict=True)) if classes else {}
    own = {name: dict(_VERSION.findall(text[match.end() : ends[name]])) for name, match in classes.items()}

    def bound(name: str, which: str) -> str | None:
        if name not in classes:
            return None
        bases = (base.strip() for base in classes[name][2].split(","))
        return own[name].get(which) or next((inherited for base in bases if (inherited := bound(base, which))), None)

    lists = _lists(text)
    found = []
    for kind, tasks, name in _REGISTERED.findall(text):
        if (library := _LIBRARY.search(tasks)) and library[1] != "transformers":
            continue
        # Tasks are written out, or are one of the exporter's lists.
        named = frozenset(re.findall(r'"([\w-]+)"', tasks))
        named = named.union(*(members for list_, members in lists.items() if list_ in tasks))
        found.append(Export(kind, named, bound(name, "MIN"), bound(name, "MAX")))
    return tuple(found)


def _lists(text: str) -> dict[str, frozenset[str]]:
    """The exporter's lists of tasks; a list may hold one above it."""
    lists: dict[str, frozenset[str]] = {}
    for name, members in _LIST.findall(text):
        own = frozenset(re.findall(r'"([\w-]+)"', members))
        lists[name] = own.union(*(lists[other] for other in re.findall(r"\*(\w+)", members) if other in lists))
    return lists
