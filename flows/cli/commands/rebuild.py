"""`quantmill rebuild`: a release made again."""

from __future__ import annotations

import typer

from flows.cli.console import NOT_OK, OK, err, out, print_json
from flows.cli.options import Home, Json, ReleaseName
from flows.cli.release_names import find_home, open_at, split


def rebuild(release: ReleaseName, home: Home = None, as_json: Json = False) -> None:
    """Make a release again and compare it byte for byte.

    The exit code is 1 when it differs. What is found otherwise in a model without a table is told as well.
    RELEASE, one of this store, reads namespace/model-target, or …@v2 for one version.
    """
    from dataclasses import asdict

    from flows.cli.bars import bars
    from flows.execution.rebuild import rebuild as again
    from flows.store import Store

    directory, name = find_home(home), split(release)
    open_at("local", directory).find(*name)  # a name that is wrong is told before anything is drawn
    with bars(err if as_json else out):
        rebuilt = again(Store(directory), *name)
    if as_json:
        print_json(asdict(rebuilt))
    elif not rebuilt.differing:
        words = f"{rebuilt.files} files, made again, are the same to the last byte"
        out.print(OK, f"{rebuilt.release}@{rebuilt.version}: {words}")
    else:
        why = f"; tools have changed: {', '.join(rebuilt.tools)}" if rebuilt.tools else ""
        out.print(NOT_OK, f"{', '.join(rebuilt.differing)} came out differently{why}", soft_wrap=True)
    if rebuilt.found and not as_json:
        out.print(
            NOT_OK, f"its architecture is found otherwise than it was: {'; '.join(rebuilt.found)}", soft_wrap=True
        )
    raise typer.Exit(1 if rebuilt.differing else 0)
