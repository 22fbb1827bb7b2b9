"""Whether tasks of lm-evaluation-harness are known: by the files of the harness, or by the file that a manifest names."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from flows.manifest.errors import nearest
from flows.planning.preflight.finding import Finding
from flows.planning.preflight.installed import harness_tasks
from flows.planning.sources import beside

_NAMED = re.compile(r"""^(?:task|group)\s*:\s*["']?([^\s"'#]+)""", re.MULTILINE)


def check_tasks(finding: Finding, home: Path) -> None:
    """Raise ManifestError for the first task that the harness, or its own file, does not know."""
    manifest = finding.manifest
    for name, task in manifest.gates.tasks.items():
        key = ("gates", "tasks", name)
        if task.file is None:
            known = _carried(home)
            if known is not None and name not in known:
                raise finding.error(
                    key,
                    "is no task of lm-evaluation-harness"
                    f"{nearest(name, known)}; its names are told by `lm-eval ls tasks`, or name a task of your own with file",
                )
        elif (path := beside(manifest, task.file)).is_file():
            named = _defined(path.parent)
            if name not in named:
                has = ", ".join(sorted(named)) or "none"
                raise finding.error(
                    (*key, "file"),
                    f"{path.parent} holds no task {name!r}; its files define {has}{nearest(name, named)}",
                )


@lru_cache(maxsize=4)
def _carried(home: Path) -> frozenset[str] | None:
    return harness_tasks(home)


def _defined(directory: Path) -> frozenset[str]:
    texts = (file.read_text("utf-8", errors="replace") for file in sorted(directory.rglob("*.yaml")))
    return frozenset(name for text in texts for name in _NAMED.findall(text))
