"""`quantmill repair`: the local hub, mended from the store."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.console import NOT_OK, OK, err, out, print_json
from flows.cli.options import Home, Json
from flows.cli.release_names import find_home, split


def repair(
    releases: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RELEASE]...", show_default=False),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Mend releases of the local hub from the store.

    What is damaged or gone is put back to the byte, from the store or by making the artifact again. The exit code is 1 when
    something stays damaged. RELEASE reads namespace/model-target, or …@v2 for one version; without it, all are mended.
    """
    from dataclasses import asdict

    from flows.cli.bars import bars
    from flows.execution.repair import repair as mend
    from flows.store import Store

    store, wanted = Store(find_home(home)), [split(name) for name in releases or ()]
    with bars(err if as_json else out):
        repaired = mend(store, wanted)
    if as_json:
        print_json([asdict(one) for one in repaired])
    for one in () if as_json else repaired:
        words = "whole"
        if one.lost:
            words = f"{one.damage} Lost: {', '.join(one.lost)}; {one.remedy}."
        elif one.damage:
            words = f"{one.damage} Mended."
        out.print(NOT_OK if one.lost else OK, f"{one.release}@{one.version}: {words}", soft_wrap=True)
    raise typer.Exit(1 if any(one.lost for one in repaired) else 0)
