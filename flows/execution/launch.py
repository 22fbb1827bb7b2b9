"""The child's side of a step: `python launch.py MODULE REQUEST.json OUT_DIR`. Imports nothing heavy.

Runs the module as a program and makes it die with its parent. A failure is told as one JSON line on standard output,
`{"error": {"fault": …, "message": …}}`, with the exit code of its class (`catalog.errors`); its traceback goes to standard
error. At the end of a good run comes `{"peak_memory_bytes": …, "cpu_seconds": …}`.
"""

from __future__ import annotations

import json
import os
import resource
import runpy
import sys
import traceback
from pathlib import Path

from catalog.processes import die_with


def peak_memory_bytes() -> int:
    """Return the largest resident set of this process since it was started, or of one of its children.

    `ru_maxrss` of the process itself would begin with the size of the process it was forked from (getrusage(2)).
    """
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    try:
        status = Path("/proc/self/status").read_text().splitlines()
        own = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return max(own, children)


def main() -> int:
    """Run the module; return the exit code."""
    module, *arguments = sys.argv[1:]
    if parent := os.environ.pop("QUANTMILL_PARENT", ""):
        die_with(int(parent))
    sys.argv = [module, *arguments]
    if os.environ.get("HF_HUB_OFFLINE") == "0":  # the step may use the network: every request of it has a deadline
        from publishers.destinations.client import apply_hub_settings

        apply_hub_settings()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception as error:
        traceback.print_exc()
        from catalog.foreign_errors import as_fault

        fault = as_fault(error)
        message = " ".join(str(fault).split()) or "no message"
        print(json.dumps({"error": {"fault": fault.fault, "message": message}}), flush=True)
        return fault.exit_code
    taken = {"peak_memory_bytes": peak_memory_bytes(), "cpu_seconds": round(sum(os.times()[:4]), 3)}
    print(json.dumps(taken), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
