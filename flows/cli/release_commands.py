"""The commands about releases: list, show, diff, pull, verify, rebuild, rollback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Debug, FromHub, Home, Json, ReleaseName, err, out, print_json
from flows.cli.release_names import find_home, split

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("list")
def list_releases(home: Home = None, as_json: Json = False, debug: Debug = False) -> None:
    """List the releases in the local hub."""
    from flows.cli import tables
    from publishers.destinations.local import releases

    place = find_home(home)
    rows = tables.release_rows(releases(place))
    if as_json:
        print_json(rows)
        return
    if not rows:
        out.print(f"The local hub {place / 'hub'} is empty. `quantmill run` a manifest to fill it.", soft_wrap=True)
        return
    out.print(tables.release_table(rows))


@app.command()
def show(release: ReleaseName, home: Home = None, as_json: Json = False, debug: Debug = False) -> None:
    """Show a release: its card's facts and evidence."""
    from rich.markdown import Markdown

    from publishers.destinations.local import find

    found = find(find_home(home), *split(release))
    if as_json:
        print_json({"directory": str(found.directory), **found.provenance.model_dump(mode="json")})
        return
    card = (found.directory / "README.md").read_text(encoding="utf-8")
    out.print(Markdown(card.split("\n---\n", 1)[-1]))


@app.command()
def diff(
    release: ReleaseName,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The release to compare it with.")],
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare two releases: recipe, source, tools and figures that differ."""
    from flows.cli import tables
    from publishers.destinations.local import find

    place = find_home(home)
    sides = [find(place, *split(name)) for name in (release, other)]
    rows = tables.differences(*(side.provenance.model_dump(mode="json") for side in sides))
    if as_json:
        print_json(rows)
    elif not rows:
        out.print("They do not differ.")
    else:
        out.print(tables.difference_table(rows, release, other))


@app.command()
def pull(
    release: ReleaseName,
    to: Annotated[Path | None, typer.Option(help="Copy it here. Default: leave it in the local hub.")] = None,
    hub: Annotated[
        bool, typer.Option("--hub", help="From the Hugging Face Hub (or HF_ENDPOINT), not the local hub.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fetch a release by name, check every hash, and print how to load it."""
    from publishers.destinations.client import apply_hub_settings

    apply_hub_settings()
    from publishers.pull import pull as fetch

    name, version = split(release)
    pulled = fetch(name, version, to, find_home(home), "hub" if hub else "local")
    if as_json:
        print_json(pulled.model_dump(mode="json"))
        return
    out.print(
        f"[green]✓[/green] {pulled.name}@{pulled.version}: {len(pulled.files)} files, every hash checked",
        highlight=False,
    )
    out.print(f"  {pulled.directory}\n", highlight=False, soft_wrap=True)
    print(pulled.snippet)


@app.command()
def verify(
    release: ReleaseName, hub: FromHub = False, home: Home = None, as_json: Json = False, debug: Debug = False
) -> None:
    """Check every file of a release against its record and its commit."""
    from publishers.destinations.client import apply_hub_settings

    apply_hub_settings()
    from publishers.verify import verify as check

    name, version = split(release)
    found = check(find_home(home), name, version, "hub" if hub else "local")
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        words = f"{len(found.files)} files are what they were when it was released"
        out.print(f"[green]✓[/green] {found.name}@{found.version}: {words}", highlight=False)


@app.command()
def rebuild(release: ReleaseName, home: Home = None, as_json: Json = False, debug: Debug = False) -> None:
    """Make a release of this store again and compare it byte for byte; exit code 1 when it differs."""
    from dataclasses import asdict

    from flows.cli.bars import bars
    from flows.execution.rebuild import rebuild as again
    from flows.store import Store

    with bars(err if as_json else out):
        found = again(Store(find_home(home)), *split(release))
    if as_json:
        print_json(asdict(found))
    elif not found.differing:
        words = f"{found.files} files, made again, are the same to the last byte"
        out.print(f"[green]✓[/green] {found.release}@{found.version}: {words}", highlight=False)
    else:
        why = f"; tools have changed: {', '.join(found.tools)}" if found.tools else ""
        out.print(
            f"[red]✗[/red] {', '.join(found.differing)} came out differently{why}", highlight=False, soft_wrap=True
        )
    raise typer.Exit(1 if found.differing else 0)


@app.command()
def rollback(release: ReleaseName, home: Home = None, as_json: Json = False, debug: Debug = False) -> None:
    """Make an earlier version the one that users get who name none: quantmill rollback acme/model-int4@v1."""
    from flows.errors import UsageError
    from publishers.destinations.local import rollback as put_back

    name, version = split(release)
    if version is None:
        raise UsageError(f"name the version to put back: quantmill rollback {name}@v1 (`quantmill list` shows them)")
    found = put_back(find_home(home), name, version)
    if as_json:
        print_json({"release": found.name, "version": found.version, "commit": found.commit})
        return
    out.print(f"{found.name} is {found.version} again for whoever names no version.", highlight=False)
