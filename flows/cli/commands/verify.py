"""`quantmill verify`: a release against its record, or every release of a destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.console import NOT_OK, OK, out, print_json
from flows.cli.options import At, Home, Json
from flows.cli.release_names import find_home, open_at, split

if TYPE_CHECKING:
    from publishers.destinations.destination import Destination


def verify(
    release: Annotated[str | None, typer.Argument(metavar="[RELEASE]", show_default=False)] = None,
    at: At = "local",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Check every file of a release against its record.

    RELEASE reads namespace/model-target, or …@v2 for one version; without it, all are checked.
    """
    destination = open_at(at, find_home(home))
    if release is None:
        raise typer.Exit(_verify_all(destination, as_json))
    from publishers.verify import verify as check

    verified = check(destination, *split(release))
    if as_json:
        print_json(verified.model_dump(mode="json"))
    else:
        words = f"{len(verified.files)} files are what they were when it was released"
        out.print(OK, f"{verified.name}@{verified.version}: {words}")


def _verify_all(destination: Destination, as_json: bool) -> int:
    """Check every version in a destination; return the exit code."""
    from publishers.errors import PublishError
    from publishers.verify import verify as check

    rows = []
    for release in destination.releases():
        row = {"name": release.name, "version": release.version, "commit": release.commit, "wrong": ""}
        try:
            check(destination, release.name, release.version)
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
            out.print("`quantmill repair` mends those of the local hub from the store.")
    return PublishError.exit_code if wrong else 0
