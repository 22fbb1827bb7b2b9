"""`quantmill plan`: what is fresh, what would run and why, and what it will cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from catalog.errors import EnvironmentFault
from catalog.sizes import in_words
from flows.cli.console import err, out, print_json
from flows.cli.options import AllowPath, Everything, Home, Json, Manifests, OnlyTargets
from flows.cli.release_names import find_home
from flows.cli.tables import STYLES, Rows, by_model, duration, fits_a_screen

if TYPE_CHECKING:
    from flows.planning.adapter_plan import PlannedAdapter
    from flows.planning.cost import Cost
    from flows.planning.plan import Plan
    from flows.planning.predictions import Predictions
    from flows.planning.states import Planned


def plan(
    manifests: Manifests,
    target: OnlyTargets = None,
    everything: Everything = False,
    home: Home = None,
    allow_path: AllowPath = False,
    as_json: Json = False,
) -> None:
    """Show what would run, why, and what it will cost.

    MANIFESTS are YAML files. No model is loaded. Targets for a device that is not here are told and left out. Past a screenful
    jobs are summed up; --all shows each.
    """
    from flows.planning.destinations import refuse_unpublishable
    from flows.planning.machine import leave_out, refuse_unfit
    from flows.planning.plan import plan as make
    from flows.planning.plan import read
    from flows.planning.predictions import Predictions
    from flows.store import Store

    store = Store(find_home(home))
    todo = make(read(manifests, allow_path=allow_path), store, targets=target)
    todo, absent = leave_out(todo)
    refuse_unfit(todo, store.home)
    refuse_unpublishable(todo, store.home)
    predictions = Predictions()
    total = predictions.of_all(todo) if todo.work else None
    if as_json:
        rows = [row_of(planned, predictions) for planned in todo.jobs] + [
            adapter_row(planned, predictions) for planned in todo.adapters
        ]
        left_out = {"left_out": [str(fault) for fault in absent]} if absent else {}
        print_json({"jobs": rows, "predicted": total and _figures(total), **left_out})
        raise typer.Exit(EnvironmentFault.exit_code if absent else 0)
    whole = everything or fits_a_screen(out, len(todo.jobs) + len(todo.adapters))
    for part in every_job(todo, predictions) if whole else summary(todo):
        out.print(part)
    if total:
        memory, disk = in_words(total.memory_bytes), in_words(total.disk_bytes)
        took = duration(total.seconds)
        out.print(f"In all about {took}, {memory} of memory at the most, {disk} of disk: what jobs share is done once.")
    for fault in absent:
        err.print(Text(f"{fault.label}:", "red"), f"{fault} Left out.", soft_wrap=True)
    if absent:
        raise typer.Exit(EnvironmentFault.exit_code)


def row_of(planned: Planned, predictions: Predictions) -> dict[str, Any]:
    """Return a job with its state, steps, reason, key, and what the steps that are left will cost."""
    job, rung = planned.job, planned.rung
    cost = None if planned.fresh else predictions.of(planned)
    return {
        "release": job.release,
        "manifest": str(job.manifest.path),
        "target": job.target.name,
        "recipe": rung.name,
        "state": planned.state,
        "steps": list(planned.steps),
        "why": planned.why,
        "key": job.publish(rung).key if job.recipes_known else None,
        "predicted": cost and _figures(cost),
    }


def adapter_row(planned: PlannedAdapter, predictions: Predictions) -> dict[str, Any]:
    """Return the same of an adapter."""
    job = planned.job
    cost = predictions.of_adapter(planned) if planned.state == "stale" else None
    return {
        "release": job.release,
        "manifest": str(job.manifest.path),
        "target": job.name,
        "recipe": job.label,
        "state": planned.state,
        "steps": list(planned.steps),
        "why": planned.why,
        "key": job.publish.key if job.base else None,
        "predicted": cost and _figures(cost),
    }


def _figures(cost: Cost) -> dict[str, Any]:
    return {
        "peak_memory_bytes": cost.memory_bytes,
        "disk_bytes": cost.disk_bytes,
        "seconds": round(cost.seconds, 1),
    }


def every_job(plan: Plan, predictions: Predictions) -> Iterator[RenderableType]:
    """Yield the jobs of each model and namespace, then what will run for which of them."""
    told = [
        *(row_of(planned, predictions) for planned in plan.jobs),
        *(adapter_row(planned, predictions) for planned in plan.adapters),
    ]
    for model, rows in by_model(told, lambda row: (row["release"], row["target"])).items():
        made = Rows(("target", "~recipe", "state", ">memory", ">disk", ">time", "~why"), title=model)
        for row in rows:
            cost = row["predicted"]
            numbers = ("–", "–", "–")
            if cost:
                memory, disk = in_words(cost["peak_memory_bytes"]), in_words(cost["disk_bytes"])
                numbers = (memory, disk, duration(cost["seconds"]))
            state = Text(row["state"], STYLES[row["state"]])
            made.add(row["target"], row["recipe"], state, *numbers, row["why"])
        yield made
    chains: dict[tuple[str, ...], list[str]] = {}
    for row in told:
        if row["state"] == "stale":
            chains.setdefault(tuple(row["steps"]), []).append(row["target"])
    for steps, targets in chains.items():
        names = "each" if len(chains) == 1 else ", ".join(dict.fromkeys(targets))
        yield Text.assemble((f"Will run for {names}: ", "dim"), " → ".join(steps), overflow="fold")


def summary(plan: Plan) -> Iterator[RenderableType]:
    """Yield how many jobs are to be done, or not, for one and the same reason."""
    every: list[Planned | PlannedAdapter] = [*plan.jobs, *plan.adapters]
    kinds = Counter((planned.state, planned.reason.kind, planned.steps) for planned in every)
    made = Rows(("state", ">jobs", "~why", "~will run"))
    for (state, why, steps), count in kinds.most_common():
        made.add(Text(state, STYLES[state]), f"{count:,}", why, " → ".join(steps) or "nothing")
    yield made
    manifests = len({planned.job.manifest.path for planned in plan.jobs})
    todo = sum(planned.state == "stale" for planned in every)
    yield f"{len(every):,} jobs of {manifests:,} manifests, {todo:,} of them to be done; --all shows each."
