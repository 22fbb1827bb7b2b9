"""`python -m quantizers REQUEST.json OUT_DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path

from quantizers.door import run
from quantizers.machine import return_freed_memory
from quantizers.request import Request


def main() -> None:
    """Read the request, make its targets, write `OUT_DIR/result.json` last."""
    parser = argparse.ArgumentParser(prog="python -m quantizers", description="Weights in, smaller weights out.")
    parser.add_argument("request", type=Path, help="JSON file that quantizers.request.Request describes")
    parser.add_argument("out", type=Path, help="directory that takes one directory per target, and result.json")
    arguments = parser.parse_args()
    return_freed_memory()
    run(Request.model_validate_json(arguments.request.read_text("utf-8")), arguments.out)


if __name__ == "__main__":
    main()
