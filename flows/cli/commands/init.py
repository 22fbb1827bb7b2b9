"""`quantmill init`: a first manifest for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import err, out, print_json
from flows.cli.options import Home, Json
from flows.cli.release_names import find_home


def init(
    source: Annotated[str, typer.Argument(metavar="SOURCE")],
    to: Annotated[
        Path | None, typer.Option(help="Write it here. Default: the model's name, in this directory.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write a first manifest that fits a model and this machine.

    SOURCE is a directory with a model, or a Hub id such as Qwen/Qwen3-0.6B. What `plan` would refuse is left out. Nothing is
    overwritten.
    """
    from flows.planning.first_manifest import first_manifest
    from flows.store import Store

    with err.status("trying targets"):
        made = first_manifest(source, to, Store(find_home(home)))
    flag = " --allow-path" if made.allow_path else ""
    if as_json:
        left_out = dict(made.left_out)
        print_json(
            {"manifest": str(made.path), "targets": list(made.targets), "left_out": left_out, "flags": flag.split()}
        )
        return
    out.print(f"Wrote {made.path}, with {', '.join(made.targets)}.", soft_wrap=True)
    for name, why in made.left_out:
        out.print(f"Left out {name}: {why}", soft_wrap=True)
    out.print(f"See what it costs:  quantmill plan {made.path}{flag}", soft_wrap=True)
    out.print(f"Make it:            quantmill run {made.path}{flag}", soft_wrap=True)
