"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from catalog.destinations import FORMS

Manifests = Annotated[list[Path], typer.Argument(show_default=False)]
Home = Annotated[
    Path | None,
    typer.Option(envvar="QUANTMILL_HOME", help="The store. Default: the nearest .quantmill, or one made here."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables.")]
OnlyTargets = Annotated[
    list[str] | None, typer.Option("--target", help="Only this target; may be given several times.")
]
Everything = Annotated[bool, typer.Option("--all", help="Show every job, however many.")]
AllowPath = Annotated[bool, typer.Option("--allow-path", help="Let manifests name paths outside their directory.")]
ReleaseName = Annotated[str, typer.Argument(metavar="RELEASE")]
At = Annotated[str, typer.Option("--at", metavar="WHERE", help=f"Where it is: {', '.join(FORMS[:-1])} or {FORMS[-1]}.")]
