"""Run the comparisons one after another: `python -m bench [NAME …] [--list]`. Without names, those of a few minutes each.

Each is a program of its own (`python -m bench.NAME --help`), prints a table, and most keep their figures in
`bench/results/`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

SHORT = (
    "plan",
    "predictions",
    "gates",
    "nights",
    "tolerances",
    "gates_storage",
    "formats",
    "quality",
    "mixture",
    "auto",
    "targets",
)
LONG = ("memory", "genai", "depth", "contention", "large", "large_peers", "six")
"""Shapes of a billion parameters and more: half an hour, and several gigabytes of scratch."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SHORT)}; {', '.join(LONG)} take long")
    parser.add_argument("--list", action="store_true", help="print the names")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(SHORT + LONG))
        return 0
    if unknown := [name for name in arguments.names if name not in SHORT + LONG]:
        parser.error(f"no comparison is called {unknown[0]}; there are {', '.join(SHORT + LONG)}")
    codes = [subprocess.run([sys.executable, "-m", f"bench.{name}"]).returncode for name in arguments.names or SHORT]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
