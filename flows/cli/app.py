"""The command line. Exit codes: 0 all passed, 1 a gate failed; those of errors are their classes' (`catalog.errors`)."""

from __future__ import annotations

import sys
import traceback
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from catalog.errors import FAULTS, EnvironmentFault, InputError, StepFault
from catalog.foreign_errors import as_fault
from flows.cli.options import AllowPath, Debug, Home, Json, Manifests, OnlyTarget, err, out, print_json
from flows.cli.release_commands import app as release_commands
from flows.cli.release_names import find_home
from flows.scrubbing import scrub_logs, scrub_terminal

app = typer.Typer(
    help="Turn models into small, fast versions that are proven good.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(release_commands)


@app.command()
def plan(
    manifests: Manifests,
    target: OnlyTarget = None,
    home: Home = None,
    allow_path: AllowPath = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what is fresh, what would run and why, and what it will cost. Loads no model."""
    from flows.cli import tables
    from flows.planning.plan import plan as make
    from flows.planning.plan import read
    from flows.store import Store

    found = make(
        read(manifests, allow_path=allow_path), Store(find_home(home)), target=_known(manifests, target, allow_path)
    )
    if as_json:
        print_json(tables.plan_rows(found))
    else:
        out.print(tables.plan_table(found))


@app.command()
def run(
    manifests: Manifests,
    target: OnlyTarget = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try steps again that failed three times in a row.")] = False,
    home: Home = None,
    allow_path: AllowPath = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make, judge and release whatever is stale."""
    from flows.cli import tables
    from flows.cli.run import run as mill
    from flows.store import Store

    store = Store(find_home(home))
    only = _known(manifests, target, allow_path)
    console = err if as_json else out
    ended, worked = mill(manifests, store, console, target=only, retry=retry, allow_path=allow_path, debug=debug)
    rows = tables.verdict_rows(ended, store)
    if worked:
        from flows.reports.report import write

        write(ended, store)
    if as_json:
        print_json(rows)
    else:
        _show_run(rows, worked, store.home)
    raise typer.Exit(exit_code(rows))


def exit_code(rows: list[dict[str, Any]]) -> int:
    """Return that of the worst that happened: a step that failed, then the machine's fault, then the input's."""
    unfinished = [row for row in rows if row["state"] not in ("released", "failed")]
    if unfinished:
        codes = {FAULTS[row.get("fault", StepFault.fault)].exit_code for row in unfinished}
        return next(kind.exit_code for kind in (StepFault, EnvironmentFault, InputError) if kind.exit_code in codes)
    return 1 if any(row["state"] == "failed" for row in rows) else 0


def _show_run(rows: list[dict[str, Any]], worked: bool, home: Path) -> None:
    from flows.cli import tables

    out.print(tables.verdict_table(rows))
    for row in rows:
        if row["state"] != "released":
            out.print(f"[red]✗[/red] {row['release']}: {escape(row['why'])}", highlight=False, soft_wrap=True)
    passed = sum(row["state"] == "released" for row in rows)
    if not worked and all(row["state"] in ("released", "failed") for row in rows):
        out.print(f"Nothing to do: all {len(rows)} jobs are as they would be made today.", highlight=False)
    out.print(
        f"{passed} of {len(rows)} passed and are in the local hub {home / 'hub'}", highlight=False, soft_wrap=True
    )
    if worked:
        out.print(f"Report:   {home / 'report.html'}", highlight=False, soft_wrap=True)
    if passed:
        name = next(row["release"] for row in rows if row["state"] == "released")
        out.print(f"Get one:  quantmill pull {name}", highlight=False, soft_wrap=True)


def _known(manifests: list[Path], target: str | None, allow_path: bool) -> str | None:
    """Return the target after making sure that some manifest has it. Raises UsageError."""
    if target is None:
        return None
    import difflib

    from flows.errors import UsageError
    from flows.manifest.load import load

    names = sorted({name for path in manifests for name in load(path, allow_path=allow_path).targets})
    if target in names:
        return target
    near = difflib.get_close_matches(target, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"--target {target}: no manifest given has such a target; they have {', '.join(names)}{hint}")


@app.command()
def report(
    manifests: Manifests,
    to: Annotated[Path | None, typer.Option(help="Write it here. Default: report.html in the store.")] = None,
    home: Home = None,
    allow_path: AllowPath = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write one HTML page: verdicts, quality against size, drift over time, every verdict's own page."""
    from flows.planning.plan import plan as make
    from flows.planning.plan import read
    from flows.reports.report import write
    from flows.store import Store

    store = Store(find_home(home))
    place = write(make(read(manifests, allow_path=allow_path), store, retry=True), store, to)
    if as_json:
        print_json({"report": str(place)})
        return
    out.print(f"{place}", highlight=False, soft_wrap=True)


@app.command()
def deploy(
    manifests: Annotated[Path, typer.Argument(help="Directory of manifests, searched downward.")] = Path("manifests"),
    cron: Annotated[str, typer.Option(help="When: minute hour day month weekday.")] = "0 2 * * *",
    timezone: Annotated[str, typer.Option(help="Of the schedule.")] = "UTC",
    pool: Annotated[
        str, typer.Option(help="Prefect work pool, made as type process if it is not there.")
    ] = "quantmill",
    home: Home = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Create the nightly deployment on the Prefect server that PREFECT_API_URL names."""
    import os

    from flows.errors import UsageError
    from flows.server import apply_prefect_settings

    if not manifests.is_dir():
        raise UsageError(f"{manifests} is not a directory: name the one that holds your manifests")
    apply_prefect_settings()
    if not os.environ.get("PREFECT_API_URL"):
        raise UsageError(
            "a deployment lives on a Prefect server: start one with `prefect server start` and set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    from flows.deployment import deploy as create

    with redirect_stdout(sys.stderr):  # Prefect tells in its own way, at length
        name = create(manifests, find_home(home), cron=cron, timezone=timezone, pool=pool)
    if as_json:
        print_json({"deployment": name, "cron": cron, "timezone": timezone, "pool": pool})
        return
    out.print(f"Deployment [bold]{name}[/bold], schedule {cron!r} {timezone}, work pool {pool}.", highlight=False)
    out.print(f"Start a worker:  prefect worker start --pool {pool} --limit 1", highlight=False)
    out.print(f"Run it now:      prefect deployment run {name}", highlight=False)


@app.command()
def doctor(home: Home = None, as_json: Json = False, debug: Debug = False) -> None:
    """Say what this machine can do: instruction set, memory, devices, versions."""
    from flows.cli import tables
    from flows.cli.doctor import examine

    found = examine(find_home(home))
    if as_json:
        print_json(found)
    else:
        out.print(tables.facts(found))
        if found["missing_packages"]:
            out.print("Install quantmill again, from its constraints.txt, to have what is missing.", highlight=False)


def main() -> None:
    """Run the command line; turn every error into one paragraph and an exit code, and print no secret."""
    scrub_logs()
    scrub_terminal()
    try:
        app()
    except KeyboardInterrupt:
        err.print("Interrupted. What was finished is kept; the same command goes on from there.")
        sys.exit(130)
    except Exception as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        fault = as_fault(error)
        err.print(f"[red]{fault.label}:[/red] ", end="")
        err.print(str(fault), markup=False, highlight=False, soft_wrap=True)
        if type(fault) is StepFault and "--debug" not in sys.argv:
            err.print("Run it with --debug for the traceback.")
        sys.exit(fault.exit_code)


if __name__ == "__main__":
    main()
