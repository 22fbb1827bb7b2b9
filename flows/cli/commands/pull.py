"""`quantmill pull`: fetch a release by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import OK, out, print_json
from flows.cli.options import Home, Json, ReleaseName
from flows.cli.release_names import find_home, split


def pull(
    release: ReleaseName,
    to: Annotated[Path | None, typer.Option(help="Copy it here. Default: leave it in the local hub.")] = None,
    hub: Annotated[
        bool, typer.Option("--hub", help="From the Hugging Face Hub (or HF_ENDPOINT), not the local hub.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Fetch a release, check every hash, and print how to load it.

    RELEASE reads namespace/model-target, or …@v2 for one version.
    """
    from publishers.destinations.client import apply_hub_settings

    apply_hub_settings()
    from publishers.pull import pull as fetch

    name, version = split(release)
    pulled = fetch(name, version, to, find_home(home), "hub" if hub else "local")
    if as_json:
        print_json(pulled.model_dump(mode="json"))
        return
    out.print(
        OK,
        f"{pulled.name}@{pulled.version}: {len(pulled.files)} files, every hash checked",
    )
    out.print(f"  {pulled.directory}\n", soft_wrap=True)
    print(pulled.snippet)
