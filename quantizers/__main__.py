"""`python -m quantizers REQUEST.json OUT_DIR`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pydantic import TypeAdapter

from catalog.processes import HUGE_PAGES, return_freed_memory

os.environ.setdefault(HUGE_PAGES, "1")  # before torch reads it

from quantizers.entrypoint import answer, run
from quantizers.request import Request, SensitivityRequest

ASKED: TypeAdapter[Request | SensitivityRequest] = TypeAdapter(Request | SensitivityRequest)


def main() -> None:
    """Read the request, make its targets or answer its question, write `OUT_DIR/result.json` last."""
    parser = argparse.ArgumentParser(prog="python -m quantizers", description="Weights in, smaller weights out.")
    parser.add_argument("request", type=Path, help="JSON file: a Request or a SensitivityRequest of quantizers.request")
    parser.add_argument("out", type=Path, help="directory that takes one directory per target, and result.json")
    arguments = parser.parse_args()
    return_freed_memory()
    asked = ASKED.validate_json(arguments.request.read_text("utf-8"))
    if isinstance(asked, SensitivityRequest):
        answer(asked, arguments.out)
    else:
        run(asked, arguments.out)


if __name__ == "__main__":
    main()
