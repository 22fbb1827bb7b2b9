"""`quantmill verify`: a release against its record, or every release of the local hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import NOT_OK, OK, out, print_json
from flows.cli.options import FromHub, Home, Json
from flows.cli.release_names import find_home, split
from flows.errors import UsageError


def verify(
    release: Annotated[str | None, typer.Argument(metavar="[RELEASE]", show_default=False)] = None,
    hub: FromHub = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Check every file of a release against its record.

    RELEASE reads namespace/model-target, or …@v2 for one version; without it, the whole local hub is checked.
    """
    if release is None:
        if hub:
            raise UsageError("name the release to check on the Hub: quantmill verify acme/model-int4 --hub")
        raise typer.Exit(_verify_all(find_home(home), as_json))
    from publishers.destinations.client import apply_hub_settings

    apply_hub_settings()
    from publishers.verify import verify as check

    name, version = split(release)
    found = check(find_home(home), name, version, "hub" if hub else "local")
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        words = f"{len(found.files)} files are what they were when it was released"
        out.print(OK, f"{found.name}@{found.version}: {words}")


def _verify_all(home: Path, as_json: bool) -> int:
    """Check every version in the local hub; return the exit code."""
    from publishers.destinations.local import releases
    from publishers.errors import PublishError
    from publishers.verify import verify as check

    rows = []
    for found in releases(home):
        row = {"name": found.name, "version": found.version, "commit": found.commit, "wrong": ""}
        try:
            check(home, found.name, found.version)
        except PublishError as error:
            row["wrong"] = str(error)
        rows.append(row)
    if as_json:
        print_json(rows)
    for row in () if as_json else rows:
        name = f"{row['name']}@{row['version']}"
        out.print(NOT_OK if row["wrong"] else OK, f"{name}: {row['wrong'] or 'whole'}", soft_wrap=True)
    wrong = sum(bool(row["wrong"]) for row in rows)
    if not as_json:
        out.print(f"{len(rows) - wrong} of {len(rows)} are what was released.")
        if wrong:
            out.print("`quantmill repair` mends them from the store.")
    return PublishError.exit_code if wrong else 0
