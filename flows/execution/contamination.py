"""Whether evaluation and calibration share content: texts by their passages, files by what they show or how they sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from catalog.reading import images, sounds
from catalog.task import Kind
from catalog.tasks import TASKS
from flows.execution.requests import documents
from flows.files.beside import Beside
from flows.files.documents import rows
from flows.manifest.texts import Texts
from flows.planning.jobs import Job
from flows.planning.kinds import Documents
from flows.planning.preflight.planned import held_out_text, reading
from flows.step import Step
from flows.store import Store
from gates.results import Overlap
from gates.safeguards.contamination import Located, overlap, twins

SHOWN: dict[Kind, Callable[[Path], str]] = {"image": images.shown, "audio": sounds.shown}
"""By the kind of a column: a digest of what a file comes to once it is decoded."""


def compared(job: Job, store: Store) -> Overlap:
    """Compare what a job is calibrated on with what it is judged by; both are here.

    Raises GateError, which names what they share and where, and InputError for a file that cannot be decoded.
    """
    manifest = job.manifest
    assert job.calibration
    if TASKS[manifest.model.task].reads:
        read = _shown(job, manifest.calibration, job.calibration, store)
        return twins(read, _shown(job, manifest.evaluation, job.evaluation, store))
    texts, held_out = reading(manifest.calibration, job.calibration, store), held_out_text(job, store)
    assert texts
    return overlap(texts.documents(), held_out.documents() if held_out else ())


def _shown(job: Job, texts: Texts, step: Step[Documents], store: Store) -> Iterator[Located]:
    first = TASKS[job.manifest.model.task].columns[0]
    for number, row in enumerate(rows(documents(store, step), [(first, first.name)]), 1):
        file = row[first.name]
        assert isinstance(file, Beside) and file.path
        yield f"{texts.where}: row {number}", SHOWN[first.kind](file.path)
