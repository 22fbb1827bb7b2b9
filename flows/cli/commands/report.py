"""`quantmill report`: one HTML page over all jobs of some manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import out, print_json
from flows.cli.options import AllowPath, Home, Json, Manifests
from flows.cli.release_names import find_home


def report(
    manifests: Manifests,
    to: Annotated[Path | None, typer.Option(help="Write it here. Default: report.html in the store.")] = None,
    home: Home = None,
    allow_path: AllowPath = False,
    as_json: Json = False,
) -> None:
    """Write one HTML page over all jobs of some manifests.

    Verdicts, quality against size, drift over time, and every verdict's own page. MANIFESTS are YAML files.
    """
    from flows.planning.plan import plan, read
    from flows.reports.report import write
    from flows.store import Store

    store = Store(find_home(home))
    page = write(plan(read(manifests, allow_path=allow_path), store, retry=True), store, to)
    if as_json:
        print_json({"report": str(page)})
        return
    out.print(f"{page}", soft_wrap=True)
