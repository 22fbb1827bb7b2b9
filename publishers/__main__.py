"""`python -m publishers REQUEST.json OUT_DIR`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# Read by huggingface_hub when it is imported. Without a Xet store behind it a server refuses uploads that the Hub's own
# client sends there by default, and the client does not fall back: away from the Hub, files go by plain LFS.
if os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/") != "https://huggingface.co":
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from publishers.door import run
from publishers.request import Request


def main() -> None:
    """Read the request, publish, write `OUT_DIR/result.json` last."""
    parser = argparse.ArgumentParser(prog="python -m publishers", description="Passing artifact in, release out.")
    parser.add_argument("request", type=Path, help="JSON file that publishers.request.Request describes")
    parser.add_argument("out", type=Path, help="directory that takes the card, the provenance and result.json")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    run(Request.model_validate_json(arguments.request.read_bytes()), arguments.out)


if __name__ == "__main__":
    main()
