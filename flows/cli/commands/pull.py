"""`quantmill pull`: fetch a release by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import OK, out, print_json
from flows.cli.options import At, Home, Json, ReleaseName
from flows.cli.release_names import find_home, open_at, split


def pull(
    release: ReleaseName,
    to: Annotated[
        Path | None, typer.Option(help="Copy it here. Default: leave it in place, if that is on this machine.")
    ] = None,
    at: At = "local",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Fetch a release, check every hash, and print how to load it.

    RELEASE reads namespace/model-target, or …@v2 for one version.
    """
    destination = open_at(at, find_home(home))
    from publishers.pull import pull as fetch

    pulled = fetch(destination, *split(release), to)
    if as_json:
        print_json(pulled.model_dump(mode="json"))
        return
    out.print(
        OK,
        f"{pulled.name}@{pulled.version}: {len(pulled.files)} files, every hash checked",
    )
    out.print(f"  {pulled.directory}\n", soft_wrap=True)
    print(pulled.snippet)
