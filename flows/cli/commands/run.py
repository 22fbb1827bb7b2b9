"""`quantmill run`: plan, and only when there is something to do, bring Prefect up and build."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from catalog.errors import FAULTS, EnvironmentFault, Fault, InputError, StepFault
from flows.cli.console import NOT_OK, err, out, print_json
from flows.cli.options import AllowPath, Everything, Home, Json, Manifests, OnlyTargets
from flows.cli.release_names import find_home
from flows.cli.tables import STYLES, Rows, by_model, fits_a_screen

if TYPE_CHECKING:
    from flows.planning.plan import Plan
    from flows.store import Store

_ADDRESSES = 20
"""Of releases elsewhere, as many as are told one by one."""


def run(
    context: typer.Context,
    manifests: Manifests,
    target: OnlyTargets = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try steps again that failed three times in a row.")] = False,
    everything: Everything = False,
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
            report = write(ended, store, failed=failed)
        except EnvironmentFault as fault:  # what was made stands, and is shown
            code = fault.exit_code
            err.print(Text(f"{fault.label}:", "red"), str(fault), soft_wrap=True)
    if as_json:
        print_json(rows)
    else:
        _show(rows, worked, store.home, report, everything)
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
    from flows.planning.destinations import refuse_unpublishable, refuse_without_access
    from flows.planning.machine import leave_out, refuse_unfit
    from flows.planning.plan import plan, read
    from flows.server import prefect_server

    todo = plan(read(manifests, allow_path=allow_path), store, targets=targets, retry=retry)
    if not todo.work:
        return todo, False, ()
    fitting, absent = leave_out(todo)
    refuse_without_access(fitting)
    refuse_unfit(fitting, store.home)
    refuse_unpublishable(fitting, store.home)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "DEBUG" if debug else "CRITICAL")
    # Registered before Prefect is imported, so done after Prefect's own last messages to the server.
    stack = ExitStack()
    atexit.register(stack.close)
    with console.status("starting Prefect"):
        stack.enter_context(prefect_server(store.home))
    failed = [*absent, *_build(fitting, store, console, retry)]
    # Held against what was planned: sources may have moved on in the meantime.
    return _now(todo, store), True, failed


def _now(todo: Plan, store: Store) -> Plan:
    from flows.planning.adapter_plan import based_on, plan_adapter
    from flows.planning.drafts import held_back, now
    from flows.planning.plan import Plan, plan_job
    from flows.planning.sources import Sources

    standing = held_back([plan_job(now(each.job, store.home), store, retry=True) for each in todo.jobs])
    jobs = {planned.job.release: planned for planned in standing}
    sources = Sources(store, store.hashes)
    adapters = (based_on(each.job, jobs[each.job.base_release], sources, store) for each in todo.adapters)
    return Plan(tuple(jobs.values()), tuple(plan_adapter(job, store, retry=True) for job in adapters))


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
    from flows.planning.states import GOOD, JUDGED

    unfinished = [row for row in rows if row["state"] not in JUDGED]
    if unfinished:
        codes = {FAULTS[row.get("fault", StepFault.fault)].exit_code for row in unfinished}
        return next(kind.exit_code for kind in (StepFault, EnvironmentFault, InputError) if kind.exit_code in codes)
    return 0 if all(row["state"] in GOOD for row in rows) else 1


def _show(rows: list[dict[str, Any]], worked: bool, home: Path, report: Path | None, everything: bool) -> None:
    from flows.planning.states import GOOD, JUDGED

    told = rows if everything or fits_a_screen(out, len(rows)) else [row for row in rows if row["state"] not in GOOD]
    for part in outcome_rows(told):
        out.print(part)
    for row in told:
        if row["state"] not in GOOD:
            mark = Text("?", "yellow") if row["state"] == "undecided" else NOT_OK
            out.print(mark, f"{row['release']}: {row['why']}", soft_wrap=True)
    if not worked and all(row["state"] in JUDGED for row in rows):
        out.print(f"Nothing to do: all {len(rows)} jobs are as they would be made today.")
    publications = [(row["release"], publication) for row in rows for publication in row.get("places", ())]
    local = [release for release, publication in publications if publication["to"] == "local"]
    where = f"; {len(local)} in the local hub {home / 'hub'}" if local else ""
    passed = sum(row.get("passed", False) for row in rows)
    out.print(f"{passed} of {len(rows)} passed their gates{where}", soft_wrap=True)
    _show_addresses([publication["url"] for _, publication in publications if publication["to"] != "local"], everything)
    if report:
        out.print(f"Report:   {report}", soft_wrap=True)
    if local:
        out.print(f"Get one:  quantmill pull {local[0]}", soft_wrap=True)


def _show_addresses(urls: list[str], everything: bool) -> None:
    shown = urls if everything else urls[:_ADDRESSES]
    for url in shown:
        out.print(f"Released: {url}", soft_wrap=True)
    if len(urls) > len(shown):
        out.print(f"          and {len(urls) - len(shown)} more; --all shows each")


def outcome_rows(rows: list[dict[str, Any]]) -> Iterator[Rows]:
    """Yield how every job stands, with the figures its gates judged, for each model and namespace."""
    from flows.reports.outcomes import figures, headings

    for model, own in by_model(rows, lambda row: (row["release"], row["target"])).items():
        judged = headings(own)
        made = Rows(("target", "~recipe", "verdict", *(f">{heading}" for heading in judged), "as"), title=model)
        for row in own:
            cells = figures(row)
            made.add(
                row["target"],
                row["recipe"],
                Text("passed" if row["state"] == "released" else row["state"], STYLES[row["state"]]),
                *(cells.get(heading, "–") for heading in judged),
                row.get("version", "–"),
            )
        yield made
