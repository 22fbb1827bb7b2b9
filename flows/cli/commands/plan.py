"""`quantmill plan`: what is fresh, what would run and why, and what it will cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from flows.cli.console import out, print_json
from flows.cli.options import AllowPath, Home, Json, Manifests, OnlyTargets
from flows.cli.release_names import find_home
from flows.cli.tables import STYLES, duration, gigabytes, table

if TYPE_CHECKING:
    from flows.planning.plan import Plan


def plan(
    manifests: Manifests,
    target: OnlyTargets = None,
    home: Home = None,
    allow_path: AllowPath = False,
    as_json: Json = False,
) -> None:
    """Show what would run, why, and what it will cost.

    MANIFESTS are YAML files. No model is loaded.
    """
    from flows.planning.machine import refuse_unfit
    from flows.planning.plan import plan as make
    from flows.planning.plan import read
    from flows.store import Store

    store = Store(find_home(home))
    found = make(read(manifests, allow_path=allow_path), store, targets=target)
    refuse_unfit(found, store.home)
    if as_json:
        print_json(rows_of(found))
    else:
        out.print(plan_table(found))


def rows_of(plan: Plan) -> list[dict[str, Any]]:
    """Return every job with its state, steps, reason, key and predicted costs."""
    from flows.planning.cost import predict

    rows = []
    for planned in plan.jobs:
        cost = None if planned.fresh else predict(planned.job, planned.rung)
        rows.append(
            {
                "release": planned.job.release,
                "manifest": str(planned.job.manifest.path),
                "target": planned.job.target.name,
                "recipe": planned.rung.name,
                "state": planned.state,
                "steps": list(planned.steps),
                "why": planned.why,
                "key": planned.job.publish(planned.rung).key if planned.job.recipes_known else None,
                "predicted": cost
                and {
                    "peak_memory_bytes": cost.memory_bytes,
                    "disk_bytes": cost.disk_bytes,
                    "seconds": round(cost.seconds, 1),
                },
            }
        )
    return rows


def plan_table(plan: Plan) -> Group:
    """Return the plan as a table, one for each model and namespace."""
    tables: dict[str, Table] = {}
    for row in rows_of(plan):
        model = row["release"].removesuffix(f"-{row['target']}")
        made = tables.get(model)
        if made is None:
            made = tables[model] = table(
                "target", "recipe", "state", ">memory", ">disk", ">time", "why, and what will run"
            )
            made.title = model
        cost = row["predicted"]
        numbers = ("–", "–", "–")
        if cost:
            numbers = (gigabytes(cost["peak_memory_bytes"]), gigabytes(cost["disk_bytes"]), duration(cost["seconds"]))
        steps = " → ".join(row["steps"])
        state = Text(row["state"], STYLES[row["state"]])
        made.add_row(row["target"], row["recipe"], state, *numbers, row["why"] + (f": {steps}" if steps else ""))
    return Group(*tables.values())
