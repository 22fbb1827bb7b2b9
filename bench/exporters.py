"""How many model types optimum-intel exports with each version of transformers, by the bounds that its own table states.

`python -m bench.exporters` prints the table of `docs/decisions/0024-transformers-stays-at-5-5.md`.
"""

from __future__ import annotations

import sys

from catalog.tasks import TASKS
from quantizers.formats.openvino.limits import Export, exports

SHOWN = ("text-generation", "text2text-generation", "fill-mask", "feature-extraction")
VERSIONS = ("4.51.3", "4.53.3", "4.57.6", "5.0.0", "5.1.0", "5.2.0", "5.3.0", "5.4.0", "5.5.4")
"""Those between which a bound of its table lies, of the ones that it can be installed with."""


def table() -> str:
    """Types by version and task, and of any of these tasks; Markdown."""
    heads = " | ".join(TASKS[name].words for name in SHOWN)
    lines = [f"| transformers | {heads} | any of these |", "|---" * (2 + len(SHOWN)) + "|"]
    for version in VERSIONS:
        counts = [len(taken(version, (TASKS[name].export,))) for name in SHOWN]
        every = len(taken(version, tuple(TASKS[name].export for name in SHOWN)))
        lines.append(f"| {version} | {' | '.join(map(str, counts))} | {every} |")
    return "\n".join(lines) + "\n"


def taken(version: str, tasks: tuple[str, ...]) -> frozenset[str]:
    """Model types that are exported for one of `tasks`, by the exporter's names, with a version of transformers."""

    def does(each: Export) -> bool:
        return each.takes(version) and not each.tasks.isdisjoint(tasks)

    return frozenset(each.kind for each in exports() if does(each))


def main() -> int:
    print(table(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
