"""`quantmill list`: the releases in the local hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from flows.cli.console import out, print_json
from flows.cli.options import Home, Json
from flows.cli.release_names import find_home
from flows.cli.tables import table

if TYPE_CHECKING:
    from publishers.destinations.local import Release


def list_releases(home: Home = None, as_json: Json = False) -> None:
    """List the releases in the local hub."""
    from publishers.destinations.local import releases

    place = find_home(home)
    rows = [_row(release) for release in releases(place)]
    if as_json:
        print_json(rows)
    elif rows:
        out.print(release_table(rows))
    else:
        out.print(f"The local hub {place / 'hub'} is empty. `quantmill run` a manifest to fill it.", soft_wrap=True)


def _row(release: Release) -> dict[str, Any]:
    return {
        "release": release.name,
        "version": release.version,
        "current": release.current,
        "commit": release.commit,
        "directory": str(release.directory),
    }


def release_table(rows: list[dict[str, Any]]) -> Table:
    """Return the releases of the local hub as a table."""
    made = table("release", "version", "current", "commit")
    for row in rows:
        made.add_row(row["release"], row["version"], "●" if row["current"] else "", row["commit"][:12])
    return made
