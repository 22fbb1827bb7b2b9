"""One page over all jobs of some manifests. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from catalog.errors import EnvironmentFault, Fault
from catalog.foreign_errors import machine_fault
from catalog.sizes import in_words
from flows.files.durable import write_durably
from flows.planning.kinds import Judged
from flows.planning.plan import Plan
from flows.planning.states import GOOD
from flows.reports.history import history
from flows.reports.outcomes import figures, headings, outcomes
from flows.step import Step
from flows.store import Store
from gates.pages.plots import Point, drift, quality_against_size
from gates.spec import KINDS, harm_gate


def write(plan: Plan, store: Store, to: Path | None = None, failed: Sequence[Fault] = ()) -> Path:
    """Write the report over a plan's jobs; return where it is: `to`, or `report.html` in that directory or the store.

    `failed` is what stopped work in the run before. Raises EnvironmentFault when it cannot be written there.
    """
    page = (to or store.home).absolute()
    if to is None or to.is_dir():
        page /= "report.html"
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_durably(page, render(plan, store, failed).encode())
    except OSError as error:
        raise machine_fault(error) or EnvironmentFault(
            f"{page} cannot be written ({error.strerror}): name another place with --to"
        ) from error
    return page


def render(plan: Plan, store: Store, failed: Sequence[Fault] = ()) -> str:
    """Return one self-contained HTML page over all jobs of a plan: verdicts, quality against size, drift over nights."""
    rows = outcomes(plan, store, failed)
    models: dict[str, list[dict[str, Any]]] = {}
    tasks: dict[str, str] = {}
    steps: list[tuple[Step[Judged], str]] = [
        *((each.job.verdict(each.rung), each.job.original.task) for each in plan.jobs),
        *((each.job.verdict, each.job.manifest.model.task) for each in plan.adapters),
    ]
    for (step, task), row in zip(steps, rows, strict=True):
        row = {"gates": {}, "version": "", "weights_bytes": None, "page": "", **row, "figures": figures(row)}
        judged = [entry["when"] for entry in history(store, row["release"]) if entry["verdict"] == step.key]
        row["judged"] = judged[-1][:10] if judged else ""
        if store.complete(step):
            with suppress(FileNotFoundError):  # lost, or judged anew by another process at this moment
                row["page"] = (store.out(step) / "verdict.html").read_text(encoding="utf-8")
        model = row["release"].removesuffix(f"-{row['target']}")
        models.setdefault(model, []).append(row)
        tasks[model] = task
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(package, ".") for package in ("flows.reports", "gates.pages")])
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["bytes"] = in_words
    sections = [
        {"model": model, "rows": own, "headings": headings(own), "plots": _plots(own, tasks[model], store)}
        for model, own in models.items()
    ]
    return environment.get_template("report.html.jinja").render(sections=sections, written=datetime.now(UTC))


def _plots(rows: list[dict[str, Any]], task: str, store: Store) -> list[tuple[str, str]]:
    points, lines = [], {}
    name = harm_gate(task)
    drawn = KINDS[name].plot
    assert drawn
    label = drawn.label.replace("\n", " ")
    for row in rows:
        gates = row.get("gates", {})
        if gates.get(name, {}).get("value") is not None and "size" in gates:
            outcome = "passed" if row["state"] in GOOD else "failed"
            points.append(Point(row["target"], gates["size"]["value"], gates[name]["value"], outcome))
        nights = [(n["when"], n["harm"]) for n in history(store, row["release"]) if n.get("harm") is not None]
        if len(nights) > 1:
            lines[row["target"]] = nights
    plots = [("Quality against size", quality_against_size(points, label, None, None))] if points else []
    return [*plots, (f"{drawn.heading.split()[0]} over time", drift(lines, label))] if lines else plots
