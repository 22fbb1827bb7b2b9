"""What installed libraries can do, read from their source: importing one of them takes seconds and hundreds of megabytes.

Where a library's source is not as expected, the answer is None: unknown here, and left to the step that uses it.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from catalog.libraries import installed, source
from flows.files.cache import keep, kept

_TASK = re.compile(r"""^(?:task|group|tag)\s*:\s*["']?([^\s"'#]+)|^\s*-\s+["']?([^\s"'#:]+)["']?\s*$""", re.MULTILINE)


def _table(module: str, name: str) -> dict[str, str] | None:
    """A table that transformers builds from a list of pairs of words."""
    text = source("transformers", "models", "auto", f"{module}.py") or ""
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
def architectures(table: str) -> dict[str, tuple[str, ...]] | None:
    """Model type → the classes that one of transformers' auto classes loads it as, by the name of its table."""
    read = _table("modeling_auto", table)
    if read is None:
        return None
    return {kind: (named,) if isinstance(named, str) else tuple(named) for kind, named in read.items()}


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
