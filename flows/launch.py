"""The child's side of a step: `python launch.py MODULE REQUEST.json OUT_DIR`. Needs nothing but the standard library.

Runs the module as a program and makes it die with its parent. A failure is told as one JSON line on standard output,
`{"error": {"fault": "input" | "step", "message": …}}`, with exit code 2 or 3; its traceback goes to standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import signal
import sys
import traceback

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, however it dies (Linux, prctl(2))."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """Run the module; return the exit code."""
    module, *arguments = sys.argv[1:]
    if parent := os.environ.pop("QUANTMILL_PARENT", ""):
        die_with(int(parent))
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception as error:
        traceback.print_exc()
        fault = "input" if isinstance(error, ValueError) and type(error).__module__.endswith(".errors") else "step"
        message = " ".join(str(error).split()) or "no message"
        if fault == "step":
            message = f"{type(error).__name__}: {message}"
        print(json.dumps({"error": {"fault": fault, "message": message}}), flush=True)
        return 2 if fault == "input" else 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
