"""`quantmill run`: plan, and only when there is something to do, bring Prefect up and build."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from catalog.errors import FAULTS, EnvironmentFault, Fault, InputError, StepFault
from flows.cli.console import err, out, print_json
from flows.cli.options import AllowPath, Home, Json, Manifests, OnlyTargets
from flows.cli.release_names import find_home
from flows.cli.tables import STYLES, table

if TYPE_CHECKING:
    from flows.planning.plan import Plan
    from flows.store import Store


def run(
    context: typer.Context,
    manifests: Manifests,
    target: OnlyTargets = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try steps again that failed three times in a row.")] = False,
    home: Home = None,
    allow_path: AllowPath = False,
    as_json: Json = False,
) -> None:
    """Make, judge and release whatever is stale.

    MANIFESTS are YAML files. What was finished before is not done again; what a gate refuses is released nowhere.
    """
    from flows.reports.outcomes import outcomes
    from flows.reports.report import write
    from flows.store import Store

    store = Store(find_home(home))
    ended, worked, failed = mill(
        manifests,
        store,
        err if as_json else out,
        targets=target,
        retry=retry,
        allow_path=allow_path,
        debug=context.obj.debug,
    )
    rows, code = outcomes(ended, store, failed), 0
    report: Path | None = None
    if worked:
        try:
            report = write(ended, store)
        except EnvironmentFault as fault:  # what was made stands, and is shown
            code = fault.exit_code
            err.print(f"[red]{fault.label}:[/red] {escape(str(fault))}", highlight=False, soft_wrap=True)
    if as_json:
        print_json(rows)
    else:
        _show(rows, worked, store.home, report)
    raise typer.Exit(exit_code(rows) or code)


def mill(
    manifests: Sequence[Path],
    store: Store,
    console: Console,
    *,
    targets: Collection[str] | None = None,
    retry: bool = False,
    allow_path: bool = False,
    debug: bool = False,
) -> tuple[Plan, bool, Sequence[Fault]]:
    """Do what is stale; return how every job stands afterwards, whether there was anything to do, and what stopped it."""
    from flows.planning.machine import refuse_unfit
    from flows.planning.plan import Plan, plan, plan_job, read, refuse_without_token
    from flows.server import prefect_server

    todo = plan(read(manifests, allow_path=allow_path), store, targets=targets, retry=retry)
    if not todo.stale:
        return todo, False, ()
    refuse_without_token(todo)
    refuse_unfit(todo, store.home)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "DEBUG" if debug else "CRITICAL")
    # Registered before Prefect is imported, so done after Prefect's own last messages to the server.
    stack = ExitStack()
    atexit.register(stack.close)
    with console.status("starting Prefect"):
        stack.enter_context(prefect_server(store.home))
    failed = _build(todo, store, console, retry)
    # Held against what was planned: sources may have moved on in the meantime.
    return Plan(tuple(plan_job(planned.job, store, retry=True) for planned in todo.jobs)), True, failed


def _build(todo: Plan, store: Store, console: Console, retry: bool) -> Sequence[Fault]:
    from flows.build import build
    from flows.cli.bars import bars
    from flows.tasks import StepsFailed

    logging.getLogger("flows").setLevel(logging.CRITICAL)  # the table at the end tells the same, once
    with bars(console):
        try:
            build(todo, store, retry=retry)
        except StepsFailed as error:  # the plan that follows says which jobs it kept from their ends
            return error.failed
    return ()


def exit_code(rows: list[dict[str, Any]]) -> int:
    """Return that of the worst that happened: a step that failed, then the machine's fault, then the input's."""
    unfinished = [row for row in rows if row["state"] not in ("released", "failed")]
    if unfinished:
        codes = {FAULTS[row.get("fault", StepFault.fault)].exit_code for row in unfinished}
        return next(kind.exit_code for kind in (StepFault, EnvironmentFault, InputError) if kind.exit_code in codes)
    return 1 if any(row["state"] == "failed" for row in rows) else 0


def _show(rows: list[dict[str, Any]], worked: bool, home: Path, report: Path | None) -> None:
    out.print(outcome_table(rows))
    for row in rows:
        if row["state"] != "released":
            out.print(f"[red]✗[/red] {row['release']}: {escape(row['why'])}", highlight=False, soft_wrap=True)
    passed = sum(row["state"] == "released" for row in rows)
    if not worked and all(row["state"] in ("released", "failed") for row in rows):
        out.print(f"Nothing to do: all {len(rows)} jobs are as they would be made today.", highlight=False)
    out.print(
        f"{passed} of {len(rows)} passed and are in the local hub {home / 'hub'}", highlight=False, soft_wrap=True
    )
    if report:
        out.print(f"Report:   {report}", highlight=False, soft_wrap=True)
    if passed:
        name = next(row["release"] for row in rows if row["state"] == "released")
        out.print(f"Get one:  quantmill pull {name}", highlight=False, soft_wrap=True)


def outcome_table(rows: list[dict[str, Any]]) -> Group:
    """Return how every job stands, with the figures its gates judged, one table for each model and namespace."""
    models: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        models.setdefault(row["release"].removesuffix(f"-{row['target']}"), []).append(row)
    return Group(*(_outcome_table(model, own) for model, own in models.items()))


def _outcome_table(model: str, rows: list[dict[str, Any]]) -> Table:
    from flows.reports.outcomes import figures, headings

    judged = headings(rows)
    made = table("target", "recipe", "verdict", *(f">{heading}" for heading in judged), "as", title=model)
    for row in rows:
        state = "passed" if row["state"] == "released" else row["state"]
        cells = figures(row)
        made.add_row(
            row["target"],
            row["recipe"],
            Text(state, STYLES[row["state"]]),
            *(cells.get(heading, "–") for heading in judged),
            row.get("version", "–"),
        )
    return made
