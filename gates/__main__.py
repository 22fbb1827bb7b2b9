"""`python -m gates REQUEST.json OUT_DIR`: run one step in this fresh process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from catalog.processes import HUGE_PAGES

# Set before any library reads them: evidence must not depend on what the network answers, unless whoever starts this
# says otherwise, for the items of a task that come from the Hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault(HUGE_PAGES, "1")

from gates.request import REQUEST, AdapterRequest


def main() -> None:
    """Read the request, run the step it names, write into OUT_DIR."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m gates REQUEST.json OUT_DIR")
    request = REQUEST.validate_json(Path(sys.argv[1]).read_bytes())
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    if isinstance(request, AdapterRequest):  # libraries read these when they are imported
        os.environ |= {"HF_HOME": str(request.home), "HF_HUB_CACHE": str(request.home / "hub")}
    from gates.entrypoint import run

    run(request, out)


if __name__ == "__main__":
    main()
