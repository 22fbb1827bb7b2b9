"""`quantmill deploy`: the nightly deployment on a Prefect server."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import out, print_json
from flows.cli.options import Home, Json
from flows.cli.release_names import find_home
from flows.errors import UsageError


def deploy(
    manifests: Annotated[Path, typer.Argument()] = Path("manifests"),
    cron: Annotated[str, typer.Option(help="When: minute hour day month weekday.")] = "0 2 * * *",
    timezone: Annotated[str, typer.Option(help="Of the schedule.")] = "UTC",
    pool: Annotated[
        str, typer.Option(help="Prefect work pool, made as type process if it is not there.")
    ] = "quantmill",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Have every manifest below a directory built every night.

    Creates a deployment on the Prefect server that PREFECT_API_URL names. MANIFESTS is searched downward.
    """
    from flows.server import apply_prefect_settings

    if not manifests.is_dir():
        raise UsageError(f"{manifests} is not a directory: name the one that holds your manifests")
    apply_prefect_settings()
    if not os.environ.get("PREFECT_API_URL"):
        raise UsageError(
            "a deployment lives on a Prefect server: start one with `prefect server start` and set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    from flows.deployment import deploy as create

    with redirect_stdout(sys.stderr):  # Prefect tells in its own way, at length
        name = create(manifests, find_home(home), cron=cron, timezone=timezone, pool=pool)
    if as_json:
        print_json({"deployment": name, "cron": cron, "timezone": timezone, "pool": pool})
        return
    out.print(f"Deployment {name}, schedule {cron!r} {timezone}, work pool {pool}.")
    out.print(f"Start a worker:  prefect worker start --pool {pool} --limit 1")
    out.print(f"Run it now:      prefect deployment run {name}")
