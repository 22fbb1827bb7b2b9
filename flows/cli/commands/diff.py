"""`quantmill diff`: what differs between two releases."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli.console import out, print_json
from flows.cli.options import Home, Json, ReleaseName
from flows.cli.release_names import find_home, split
from flows.cli.tables import leaves, table


def diff(
    release: ReleaseName,
    other: Annotated[str, typer.Argument(metavar="OTHER")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show what differs between two releases.

    Recipe, source, tools and figures. RELEASE and OTHER read namespace/model-target, or …@v2 for one version.
    """
    from publishers.destinations.local import find

    place = find_home(home)
    sides = [find(place, *split(name)) for name in (release, other)]
    rows = differences(*(side.provenance.model_dump(mode="json") for side in sides))
    if as_json:
        print_json(rows)
    elif not rows:
        out.print("They do not differ.")
    else:
        out.print(difference_table(rows, release, other))


def differences(left: dict[str, Any], right: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every leaf that two provenance records disagree on, the per-document rows left aside."""
    a, b = leaves(left), leaves(right)
    names = [name for name in a | b if a.get(name) != b.get(name)]
    return [{"what": name, "left": a.get(name), "right": b.get(name)} for name in names]


def difference_table(rows: list[dict[str, Any]], left: str, right: str) -> Table:
    """Return differences as a table."""
    made = table("what", left, right)
    for row in rows:
        made.add_row(row["what"], str(row["left"]), str(row["right"]))
    return made
