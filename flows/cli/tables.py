"""Plans, verdicts and releases as tables for a person and as objects for a program."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from flows.planning.cost import predict
from flows.planning.plan import Plan, Planned, scorings, verdict_of
from flows.store import Failure, Store

_STYLE = {"released": "green", "failed": "red", "stale": "yellow", "quarantined": "red", "step failed": "red"}


def gigabytes(size: float) -> str:
    """Return a size for a person."""
    return f"{size / 2**30:.1f} GB" if size >= 2**29 else f"{size / 2**20:.1f} MB"


def duration(seconds: float) -> str:
    """Return a duration for a person."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def table(*columns: str, title: str | None = None) -> Table:
    """Return an empty table in the house style; a column whose name starts with `>` holds numbers."""
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, padding=(0, 1))
    for column in columns:
        made.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
        made.columns[-1].no_wrap = column not in ("recipe", columns[-1])
    return made


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """Return every job with its state, steps, reason, key and predicted costs."""
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
    for row in plan_rows(plan):
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
        state = Text(row["state"], _STYLE[row["state"]])
        made.add_row(row["target"], row["recipe"], state, *numbers, row["why"] + (f": {steps}" if steps else ""))
    return Group(*tables.values())


def verdict_rows(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """Return how every job stands after a run."""
    return [_verdict_row(planned, store) for planned in plan.jobs]


def _verdict_row(planned: Planned, store: Store) -> dict[str, Any]:
    job, rung = planned.job, planned.rung
    verdict = verdict_of(job, rung, store)
    artifact = store.record(job.quantize(rung))
    published = store.record(job.publish(rung))
    row: dict[str, Any] = {
        "release": job.release,
        "target": job.target.name,
        "recipe": rung.name,
        "state": planned.state,
    }
    row["why"] = planned.why
    if planned.state in ("stale", "quarantined") and (failure := _failure(planned, store)):
        row |= {"state": "step failed", "why": f"{failure.step} failed: {failure.message}", "fault": failure.fault}
    if verdict and planned.fresh:
        row["why"] = verdict.result.sentence
    if verdict:
        row["gates"] = {gate.name: gate.model_dump(mode="json") for gate in verdict.result.gates}
    if artifact:
        row["weights_bytes"] = artifact.result.weights_bytes
        row["seconds"] = artifact.seconds
        row["peak_memory_bytes"] = artifact.peak_memory_bytes
    if published and planned.state == "released":
        row["places"] = [place.model_dump(mode="json") for place in published.result.places]
        row["version"] = published.result.places[0].version
    return row


def _failure(planned: Planned, store: Store) -> Failure | None:
    job, rung = planned.job, planned.rung
    fetch = [job.original.fetch] if job.original.id else []
    steps = [*fetch, *job.prepared, job.quantize(rung), *scorings(job, rung, store), job.publish(rung)]
    return next((failure for step in steps if (failure := store.failed(step))), None)


def figures(row: dict[str, Any]) -> dict[str, str]:
    """Return the figures that a job's gates judged, by the heading they stand below."""
    shown = (gate["shown"] for gate in row.get("gates", {}).values())
    return {found["column"]: found["cell"] for found in shown if found and found["column"]}


def headings(rows: list[dict[str, Any]]) -> list[str]:
    """Return the headings of all figures of some jobs, each once."""
    return list(dict.fromkeys(heading for row in rows for heading in figures(row)))


def verdict_table(rows: list[dict[str, Any]]) -> Group:
    """Return how every job stands, with the figures its gates judged, one table for each model and namespace."""
    models: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        models.setdefault(row["release"].removesuffix(f"-{row['target']}"), []).append(row)
    return Group(*(_verdict_table(model, own) for model, own in models.items()))


def _verdict_table(model: str, rows: list[dict[str, Any]]) -> Table:
    judged = headings(rows)
    made = table("target", "recipe", "verdict", *(f">{heading}" for heading in judged), "as", title=model)
    for row in rows:
        state = "passed" if row["state"] == "released" else row["state"]
        cells = figures(row)
        made.add_row(
            row["target"],
            row["recipe"],
            Text(state, _STYLE[row["state"]]),
            *(cells.get(heading, "–") for heading in judged),
            row.get("version", "–"),
        )
    return made


def release_rows(found: list[Any]) -> list[dict[str, Any]]:
    """Return releases of the local hub."""
    return [
        {
            "release": item.name,
            "version": item.version,
            "current": item.current,
            "commit": item.commit,
            "directory": str(item.directory),
        }
        for item in found
    ]


def release_table(rows: list[dict[str, Any]]) -> Table:
    """Return the releases of the local hub as a table."""
    made = table("release", "version", "current", "commit")
    for row in rows:
        made.add_row(row["release"], row["version"], "●" if row["current"] else "", row["commit"][:12])
    return made


def differences(left: dict[str, Any], right: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every leaf that two provenance records disagree on, the per-document rows left aside."""
    a, b = _leaves(left), _leaves(right)
    names = [name for name in a | b if a.get(name) != b.get(name)]
    return [{"what": name, "left": a.get(name), "right": b.get(name)} for name in names]


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        # What a gate shows are its numbers in words.
        items = [(key, item) for key, item in value.items() if key != "shown"]
        return {name: leaf for key, item in items for name, leaf in _leaves(item, f"{prefix}{key}.").items()}
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        named = {str(item.get("name", n)): item for n, item in enumerate(value) if isinstance(item, dict)}
        return {} if prefix.endswith("documents.") else _leaves(named, prefix)
    return {prefix.rstrip("."): value}


def difference_table(rows: list[dict[str, Any]], left: str, right: str) -> Table:
    """Return differences as a table."""
    made = table("what", left, right)
    for row in rows:
        made.add_row(row["what"], str(row["left"]), str(row["right"]))
    return made


def facts(found: dict[str, Any]) -> Table:
    """Return nested facts as a table of two columns."""
    made = table("", "")
    for name, value in _leaves(found).items():
        shown = (
            gigabytes(value) if name.endswith("_bytes") else ", ".join(value) if isinstance(value, list) else str(value)
        )
        made.add_row(name.removesuffix("_bytes").replace("_", " ").replace(".", ": "), shown or "none")
    return made
