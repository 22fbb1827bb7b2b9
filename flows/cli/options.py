"""Options and output that the commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

out = Console()
err = Console(stderr=True)

Manifests = Annotated[list[Path], typer.Argument(help="Manifests: YAML files.", show_default=False)]
Home = Annotated[
    Path | None,
    typer.Option(envvar="QUANTMILL_HOME", help="The store. Default: the nearest .quantmill, or one made here."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and Prefect's own log.")]
OnlyTarget = Annotated[str | None, typer.Option("--target", help="Only this target.")]
AllowPath = Annotated[bool, typer.Option("--allow-path", help="Let manifests name paths outside their directory.")]
ReleaseName = Annotated[str, typer.Argument(metavar="RELEASE", help="namespace/model-target, or …@v2 for one version.")]

FromHub = Annotated[bool, typer.Option("--hub", help="At the Hugging Face Hub (or HF_ENDPOINT), not in the local hub.")]


def print_json(value: Any) -> None:
    """Print for a program: JSON and nothing else."""
    print(json.dumps(value, indent=1, ensure_ascii=False))
