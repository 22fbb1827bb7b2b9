"""`python -m publishers REQUEST.json OUT_DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path

from publishers.destinations.client import apply_hub_settings
from publishers.progress import tell
from publishers.request import Request


def main() -> None:
    """Read the request, publish, write `OUT_DIR/result.json` last."""
    parser = argparse.ArgumentParser(prog="python -m publishers", description="Passing artifact in, release out.")
    parser.add_argument("request", type=Path, help="JSON file that publishers.request.Request describes")
    parser.add_argument("out", type=Path, help="directory that takes the card, the provenance and result.json")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tell()
    apply_hub_settings()
    from publishers.entrypoint import run

    run(Request.model_validate_json(arguments.request.read_bytes()), arguments.out)


if __name__ == "__main__":
    main()
