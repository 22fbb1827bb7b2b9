"""What installed libraries can do, read from their source: importing one of them takes seconds and hundreds of megabytes.

Where a library's source is not as expected, the answer is None: unknown here, and left to the step that uses it.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from packaging.version import Version

from catalog.libraries import installed
from flows.files.cache import keep, kept

_EXPORT = "text-generation-with-past"
_CLASS = re.compile(r"^class (\w+)\(([^)]*)\):", re.MULTILINE)
_VERSION = re.compile(r'^    (MIN|MAX)_TRANSFORMERS_VERSION = "([^"]+)"', re.MULTILINE)
_REGISTERED = re.compile(r'^@register_in_tasks_manager\(\s*"([^"]+)",(.*?)^class (\w+)', re.MULTILINE | re.DOTALL)
_TASK = re.compile(r"""^(?:task|group|tag)\s*:\s*["']?([^\s"'#]+)|^\s*-\s+["']?([^\s"'#:]+)["']?\s*$""", re.MULTILINE)


def _source(package: str, *path: str) -> str | None:
    """The text of one file of a package that is not imported for it."""
    spec = find_spec(package)
    for directory in (spec and spec.submodule_search_locations) or ():
        file = Path(directory, *path)
        if file.is_file():
            return file.read_text("utf-8")
    return None


def _table(module: str, name: str) -> dict[str, str] | None:
    """A table that transformers builds from a list of pairs of words."""
    text = _source("transformers", "models", "auto", f"{module}.py") or ""
    match = re.search(rf"^{name}\b[^=\n]*= OrderedDict(?:\[[^\n]*\])?\((.*?)^\)", text, re.MULTILINE | re.DOTALL)
    try:
        return dict(ast.literal_eval(match[1].strip())) if match else None
    except (ValueError, SyntaxError, TypeError):
        return None


@cache
def model_types() -> frozenset[str] | None:
    """Model types that transformers has an architecture for."""
    table = _table("configuration_auto", "CONFIG_MAPPING_NAMES")
    return frozenset(table) if table else None


@cache
def language_models() -> dict[str, str] | None:
    """Model type → the class that transformers' AutoModelForCausalLM loads it as."""
    return _table("modeling_auto", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")


@cache
def exported() -> frozenset[str] | None:
    """Model types that optimum-intel exports for text generation with the transformers that is installed."""
    text = _source("optimum", "exporters", "openvino", "model_configs.py") or ""
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
    kinds = set()
    for kind, tasks, name in _REGISTERED.findall(text):
        least, most = bound(name, "MIN"), bound(name, "MAX")
        within = ours is None or ((not least or Version(least) <= ours) and (not most or ours <= Version(most)))
        # Tasks are written out, or are one of the exporter's lists, which all hold this one for decoders.
        if (f'"{_EXPORT}"' in tasks or "COMMON_TEXT_GENERATION" in tasks) and within:
            kinds.add(kind)
    return frozenset(kinds) or None


def harness_tasks(home: Path) -> frozenset[str] | None:
    """Names of tasks, groups and tags in lm-evaluation-harness, with words beside them; kept, for there are 14,000 files."""
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        return None
    memory = home / "cache" / f"harness-{installed('lm_eval')}.json"
    if known := kept(memory, list[str]):
        return frozenset(known)
    names: set[str] = set()
    for file in sorted(Path(spec.submodule_search_locations[0], "tasks").rglob("*.yaml")):
        names.update(name for pair in _TASK.findall(file.read_text("utf-8", errors="replace")) for name in pair if name)
    keep(memory, sorted(names))
    return frozenset(names) or None
