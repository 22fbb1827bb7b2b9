"""`quantmill merge`: an adapter and its base as one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import OK, err, out, print_json
from flows.cli.options import Home, Json, ReleaseName
from flows.cli.release_names import find_home, split


def merge(
    release: ReleaseName,
    to: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="A new directory, for the merged model.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Add an adapter's updates to its base, unpacked to bfloat16.

    The directory is a model like any other: a manifest can name it as model.source and quantize it. RELEASE, an adapter of the
    local hub, reads namespace/model-adapter, or …@v2 for one version.
    """
    from flows.cli.bars import bars
    from flows.execution.merge import merge as merged_into
    from flows.store import Store

    with bars(err if as_json else out):
        merged = merged_into(Store(find_home(home)), *split(release), to.absolute())
    if as_json:
        print_json({"directory": str(to.absolute()), "linears": merged.linears})
    else:
        out.print(OK, f"{release}: updates of {merged.linears} linears are in {to}", soft_wrap=True)
