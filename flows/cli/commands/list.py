"""`quantmill list`: the releases in a destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from catalog.sizes import in_words
from flows.cli.console import out, print_json
from flows.cli.options import At, Home, Json
from flows.cli.release_names import find_home, open_at
from flows.cli.tables import Rows

if TYPE_CHECKING:
    from publishers.destinations.destination import Destination, Release


def list_releases(at: At = "local", home: Home = None, as_json: Json = False) -> None:
    """List the releases in the local hub, or elsewhere."""
    destination = open_at(at, find_home(home))
    rows = [row_of(destination, release) for release in destination.releases()]
    if as_json:
        print_json(rows)
    elif rows:
        out.print(release_rows(rows))
        damaged = sum(row["problem"] is not None for row in rows)
        if damaged:
            out.print(f"{damaged} damaged: `quantmill verify` says how.")
    else:
        hub = f" ({destination.home / 'hub'})" if destination.home else ""
        out.print(
            f"There are no releases {destination.where}{hub}. `quantmill run` a manifest to make some.",
            soft_wrap=True,
        )


def row_of(destination: Destination, release: Release) -> dict[str, Any]:
    """Return what a release is, and what its record says of it when that can be read."""
    from flows.reports.outcomes import figures
    from publishers.errors import PublishError

    row: dict[str, Any] = {
        "release": release.name,
        "version": release.version,
        "current": release.current,
        "commit": release.commit,
        "directory": release.directory and str(release.directory),
        "problem": None,
    }
    try:
        record = destination.provenance(release)
    except PublishError as error:
        return row | {"problem": str(error)}
    return row | {
        "source": record.source.model_dump(),
        "format": record.format,
        "recipe": _recipe(record.recipe),
        "bytes": sum(file.size for file in record.files.values()),
        "figures": figures({"gates": {gate["name"]: gate for gate in record.verdict["gates"]}}),
    }


def _recipe(fields: dict[str, Any]) -> str:
    from flows.manifest.presets import name_of
    from quantizers.recipe import Recipe

    try:
        return name_of(Recipe.model_validate(fields))
    except ValueError:  # of another version, which knew other fields
        return "–"


def release_rows(rows: list[dict[str, Any]]) -> Rows:
    """Return releases for a person; a dot marks the version that users get who name none."""
    judged = dict.fromkeys(heading for row in rows for heading in row.get("figures", ()) if heading != "size")
    made = Rows(("release", "version", "format", "~recipe", ">size", *(f">{heading}" for heading in judged)))
    for row in rows:
        figures = row.get("figures", {})
        made.add(
            row["release"],
            row["version"] + (" ●" if row["current"] else ""),
            row.get("format", "damaged"),
            row.get("recipe", "–"),
            in_words(row["bytes"]) if "bytes" in row else "–",
            *(figures.get(heading, "–") for heading in judged),
        )
    return made
