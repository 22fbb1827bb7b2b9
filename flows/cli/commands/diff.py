"""`quantmill diff`: what differs between two releases."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from catalog.sizes import in_words
from flows.cli.console import out, print_json
from flows.cli.options import At, Home, Json, ReleaseName
from flows.cli.release_names import find_home, open_at, split
from flows.cli.tables import Rows, leaves


def diff(
    release: ReleaseName,
    other: Annotated[str, typer.Argument(metavar="OTHER")],
    at: At = "local",
    everything: Annotated[bool, typer.Option("--all", help="Whatever their records differ in.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show what differs between two releases.

    Source, recipe, calibration, tools, and the figures of their gates; with --all, and in JSON, whatever their records differ
    in. RELEASE and OTHER read namespace/model-target, or …@v2 for one version.
    """
    destination = open_at(at, find_home(home))
    releases = [destination.find(*split(name)) for name in (release, other)]
    sides = [destination.provenance(released).model_dump(mode="json") for released in releases]
    rows = differences(*map(leaves if everything or as_json else told, sides))
    if as_json:
        print_json(rows)
        return
    out.print(f"A  {release}\nB  {other}", soft_wrap=True)
    if rows:
        out.print(difference_rows(rows))
    else:
        out.print("They do not differ.")


def differences(left: dict[str, Any], right: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every name under which two records hold something else."""
    names = [name for name in left | right if left.get(name) != right.get(name)]
    return [{"what": name, "left": left.get(name), "right": right.get(name)} for name in names]


def told(record: dict[str, Any]) -> dict[str, Any]:
    """Return what a person compares: what a release was made of, what its gates measured, and which files it has."""
    made_of = leaves({name: record[name] for name in ("source", "recipe", "calibration", "evaluation", "tools")})
    shown = [gate["shown"] for gate in record["verdict"]["gates"] if gate.get("shown")]
    measured = {gate["label"]: f"{gate['measured']} (bound {gate['bound']})" for gate in shown}
    weights = max(record["files"].values(), key=lambda file: file["size"])
    return {
        **made_of,
        **measured,
        "weights": f"{in_words(weights['size'])}, sha256 {weights['sha256'][:12]}",
        "files": ", ".join(sorted(record["files"])),
    }


def difference_rows(rows: list[dict[str, Any]]) -> Rows:
    """Return differences for a person."""
    made = Rows(("~what", "~A", "~B"))
    for row in rows:
        made.add(row["what"], _shown(row["left"]), _shown(row["right"]))
    return made


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool | float):
        return str(value).lower() if isinstance(value, bool) else f"{value:.5g}"
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b", r"\1…", str(value))
