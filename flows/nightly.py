"""The nightly flow: every manifest below a directory, each built on its own, whatever becomes of the others."""

from __future__ import annotations

import re
from pathlib import Path

from prefect import flow, get_run_logger

from catalog.errors import Fault
from flows.build import build
from flows.planning.destinations import refuse_unpublishable, refuse_without_access
from flows.planning.machine import leave_out, refuse_unfit
from flows.planning.plan import Plan, plan, read, refuse_same_names
from flows.scrubbing import in_our_words, scrub_logs
from flows.store import Store
from flows.tasks import StepsFailed, isolated


def manifests_below(directory: Path) -> list[Path]:
    """Return the manifests of a directory: every YAML file but `targets.yaml`."""
    paths = sorted(path for path in directory.rglob("*.yaml") if path.name != "targets.yaml")
    seen = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(directory).parts)]
    # Other YAML may lie there, tasks of a harness say; what has a model or targets means to be a manifest.
    return [path for path in seen if re.search(r"^(model|targets)\s*:", path.read_text(errors="replace"), re.MULTILINE)]


@flow(name="nightly", flow_run_name="nightly")
@in_our_words
def nightly(manifests: str, home: str, retry: bool = False) -> None:
    """Build what is stale below `manifests`. Raises StepsFailed at the end when anything did not finish."""
    scrub_logs()
    log = get_run_logger()
    store = Store(Path(home))
    paths = manifests_below(Path(manifests))
    log.info("%d manifests below %s", len(paths), manifests)
    failed: list[Fault] = []
    plans: list[Plan] = []
    for path in paths:
        with isolated(str(path), failed, log):
            todo = plan(read([path]), store, retry=retry)
            refuse_same_names(planned.job for each in (*plans, todo) for planned in each.jobs)
            plans.append(todo)
    for todo in plans:
        with isolated(str(todo.jobs[0].job.manifest.path), failed, log):
            fitting, absent = leave_out(todo)
            failed += absent
            refuse_without_access(fitting)
            refuse_unfit(fitting, store.home)
            refuse_unpublishable(fitting, store.home)
            build(fitting, store, retry=retry)
    if failed:
        raise StepsFailed(failed)
