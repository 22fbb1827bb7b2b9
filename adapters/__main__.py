"""`python -m adapters REQUEST.json OUT_DIR`: run one step in this fresh process."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from catalog.processes import HUGE_PAGES, return_freed_memory

# Set before any library reads them: bits must not depend on what the network answers.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault(HUGE_PAGES, "1")

from adapters.entrypoint import run
from adapters.request import REQUEST


def main() -> None:
    """Read the request, run the step it names, write `OUT_DIR/result.json` last."""
    parser = argparse.ArgumentParser(prog="python -m adapters", description="A quantized base in, an adapter out.")
    parser.add_argument("request", type=Path, help="JSON file: a TrainRequest or a MergeRequest of adapters.request")
    parser.add_argument("out", type=Path, help="directory that takes the adapter, or the merged model, and result.json")
    arguments = parser.parse_args()
    return_freed_memory()
    arguments.out.mkdir(parents=True, exist_ok=True)
    run(REQUEST.validate_json(arguments.request.read_bytes()), arguments.out)


if __name__ == "__main__":
    main()
