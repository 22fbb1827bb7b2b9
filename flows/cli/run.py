"""`quantmill run`: plan, and only when there is something to do, bring Prefect up and build."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from flows.planning.plan import Plan, plan, plan_job, read, refuse_without_token
from flows.server import prefect_server
from flows.store import Store


def run(
    manifests: Sequence[Path],
    store: Store,
    console: Console,
    *,
    target: str | None = None,
    retry: bool = False,
    allow_path: bool = False,
    debug: bool = False,
) -> tuple[Plan, bool]:
    """Do what is stale; return how every job stands afterwards, and whether there was anything to do."""
    todo = plan(read(manifests, allow_path=allow_path), store, target=target, retry=retry)
    if not todo.stale:
        return todo, False
    refuse_without_token(todo)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "DEBUG" if debug else "CRITICAL")
    # Registered before Prefect is imported, so done after Prefect's own last messages to the server.
    stack = ExitStack()
    atexit.register(stack.close)
    with console.status("starting Prefect"):
        stack.enter_context(prefect_server(store.home))
    _build(manifests, store, console, target, retry, allow_path)
    # Held against what was planned: sources may have moved on in the meantime.
    return Plan(tuple(plan_job(planned.job, store, retry=True) for planned in todo.jobs)), True


def _build(
    manifests: Sequence[Path], store: Store, console: Console, target: str | None, retry: bool, allow_path: bool
) -> None:
    from flows.build import StepsFailed, build
    from flows.cli.bars import bars

    logging.getLogger("flows").setLevel(logging.CRITICAL)  # the table at the end tells the same, once
    with bars(console):
        try:
            build([str(path) for path in manifests], str(store.home), target, retry, allow_path)
        except StepsFailed as error:
            logging.getLogger(__name__).debug("unfinished: %s", error)  # the plan that follows says which, and why
