"""`quantmill engine`: engines that run in an interpreter of their own."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.console import err, out, print_json
from flows.cli.options import Home, Json
from flows.cli.release_names import find_home

Name = Annotated[str, typer.Argument(metavar="ENGINE")]

engine = typer.Typer(
    help="Install, list and remove engines in interpreters of their own.", no_args_is_help=True, rich_markup_mode=None
)


@engine.command("install")
def install_engine(name: Name, home: Home = None, as_json: Json = False) -> None:
    """Install an engine's pinned packages into an interpreter of its own.

    It lies in the store's directory `engines`, or in the one that QUANTMILL_ENGINES names.
    """
    from catalog.interpreters import engines_of
    from flows.interpreters import install, named

    row, engines = named(name), engines_of(find_home(home))
    with err.status(f"installing {name}: some gigabytes, some minutes"):
        place = install(row, engines)
    if as_json:
        print_json({"engine": name, "where": str(place), "version": row.identity})
        return
    out.print(f"Engine {name} is installed in {place}.", soft_wrap=True)


@engine.command("list")
def list_engines(home: Home = None, as_json: Json = False) -> None:
    """List engines that have an interpreter of their own, and whether it is here."""
    from catalog.interpreters import engines_of
    from catalog.sizes import in_words
    from flows.cli.tables import Rows
    from flows.interpreters import listed

    rows = listed(engines_of(find_home(home)))
    if as_json:
        print_json(rows)
        return
    shown = Rows(("engine", "state", ">size", "~what", "~where"))
    for row in rows:
        size = in_words(row["bytes"]) if "bytes" in row else "–"
        shown.add(row["engine"], row["state"], size, row["what"], row.get("command") or row["where"])
    out.print(shown)


@engine.command("remove")
def remove_engine(name: Name, home: Home = None, as_json: Json = False) -> None:
    """Remove an engine's interpreter; releases made with it stay."""
    from catalog.interpreters import engines_of
    from catalog.sizes import in_words
    from flows.interpreters import named, remove

    size = remove(named(name), engines_of(find_home(home)))
    if as_json:
        print_json({"engine": name, "bytes": size})
        return
    out.print(f"Engine {name}: {in_words(size)} removed." if size else f"Engine {name} is not installed.")
