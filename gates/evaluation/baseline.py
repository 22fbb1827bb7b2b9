"""The `baseline` step: run the original once over the evaluation rows, for every artifact and night to come."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from pydantic import TypeAdapter

from catalog import libraries
from catalog.formats import LOADABLE, ORIGINAL
from catalog.progress import report
from catalog.reading import rows as reading
from catalog.task import DOMAIN
from catalog.tasks import TASKS
from gates.clients.client import Loaded, load_original
from gates.errors import GateError
from gates.evaluation import readers, tasks
from gates.evidence import Activations
from gates.measurements import measurement
from gates.request import BaselineRequest
from gates.results import Baseline
from gates.tasks import measured
from gates.tasks.contract import Asked, Data, MeasuredTask, NotFinite, Row, Stored

ACTIVATIONS = "activations.json"
"""File of a baseline's directory: `gates.evidence.Activations`."""
WORDS = {"documents": "document", "chat": "conversation"}
"""What a row is called, by the directory it is stored in."""


def run(request: BaselineRequest, out: Path) -> Baseline:
    """Run the original on every row; write one file per row, what else it is asked, and `result.json`."""
    evaluation, task = request.evaluation, measured(request.task)
    beside = readers.load(request.model, request.task)
    asked = Asked(request.model, beside.tokenizer, evaluation.tokens, out, beside.processor)
    data = reading.read(evaluation.documents, TASKS[request.task].columns)[: evaluation.max_documents]
    made = task.rows(data, asked)
    rows = [{**row, **_domain(each)} for row, each in zip(made, data, strict=True) if row is not None]
    if not rows:
        raise GateError(f"{evaluation.documents}: {task.nothing}")
    loaded = load_original(request.model, request.task, request.hold_bytes)
    if loaded.faults:
        raise GateError(
            f"{request.model}: the original does not load cleanly: {loaded.faults[0]}. Its configuration and its weights do "
            "not belong together, or a file is missing: fetch the model again."
        )
    views = task.views(rows, asked)
    task.foresee(loaded, asked, rows)
    with loaded.watched(again=False) as watch:
        for each in views.values():
            task.announce(loaded, each)
        positions = {view: _score(task, loaded, each, out / view) for view, each in views.items()}
    seen = watch and watch.told()
    (out / ACTIVATIONS).write_text((seen.model_dump_json(indent=1) if seen else "null") + "\n")
    task.probe(loaded, rows, asked)
    for name, settings in request.measured.items():
        measurement(name).original(loaded, data, asked, settings)
    answers = tasks.answer(loaded, asked.tokenizer, request.tasks, "original")
    (out / "tasks.json").write_bytes(tasks.ANSWERS.dump_json(answers, indent=1) + b"\n")
    result = Baseline(
        documents=len(views["documents"]),
        left_out=len(made) - len(rows),
        tokens=positions["documents"],
        row_tokens=evaluation.tokens,
        vocabulary=task.width(loaded, rows),
        chat=len(views.get("chat", ())),
        weights_bytes=weights_bytes(request.model, ORIGINAL.name),
        tools=libraries.versions(libraries.scoring()),
    )
    (out / "result.json").write_text(result.model_dump_json(indent=1) + "\n")
    return result


def _domain(row: Data) -> Row:
    """Return what is stored of a row's domain: its name's bytes, uint8 (bytes,)."""
    named = row.get(DOMAIN.name)
    return {DOMAIN.name: torch.frombuffer(bytearray(named, "utf-8"), dtype=torch.uint8)} if named else {}


def _score(task: MeasuredTask, loaded: Loaded, rows: list[Row], out: Path) -> int:
    """Run the original on rows and write one file each; return at how many positions they are compared."""
    out.mkdir()
    stored, word, positions = Stored(out), WORDS.get(out.name, "row"), 0
    for index, row in enumerate(rows):
        try:
            described = task.describe(loaded, row, index)
        except NotFinite:
            raise GateError(
                f"The original's logits on {word} {index} are not finite: nothing compares with it."
            ) from None
        stored.write(index, described)
        positions += task.positions(described)
        report(f"original: scoring {word}s", index + 1, len(rows))
    return positions


def read_result(directory: Path) -> Baseline:
    """Read a finished baseline; raises `GateError` for a directory that is none."""
    path = directory / "result.json"
    if not path.is_file():
        raise GateError(f"{directory}: no finished baseline (result.json is missing). Run the baseline step first.")
    return Baseline.model_validate(json.loads(path.read_text()))


def read_activations(directory: Path) -> Activations | None:
    """Read what a finished baseline has seen of the original's activations."""
    return TypeAdapter(Activations | None).validate_json((directory / ACTIVATIONS).read_bytes())


def weights_bytes(path: Path, format_: str) -> int:
    """Bytes of the weight files in a model's directory."""
    files = {file for pattern in LOADABLE[format_].weights for file in path.glob(pattern)}
    return sum(file.stat().st_size for file in files)
