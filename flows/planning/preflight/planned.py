"""What is checked once jobs are planned: what is known of models and data sets of the Hub, and what takes a second to see.

The same is asked of a model and of texts of the Hub when they have been fetched, before anything else is done with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from catalog.tasks import TASKS
from flows.execution.requests import documents
from flows.manifest.model import Manifest
from flows.manifest.texts import Texts
from flows.planning.jobs import Job, reads_calibration
from flows.planning.kinds import Documents
from flows.planning.preflight import check_original, subject_of
from flows.planning.preflight.finding import Finding
from flows.planning.preflight.memory import check_memory
from flows.planning.preflight.tasks import check_tasks
from flows.planning.preflight.texts import Reading, Trouble, apart, filled, packed, scored, trouble
from flows.planning.text_size import rows_of
from flows.step import Step
from flows.store import Store


def check_jobs(manifest: Manifest, jobs: Sequence[Job], store: Store) -> None:
    """Raise ManifestError for what of some of a manifest's jobs would be refused once work has begun."""
    if not jobs:
        return
    if manifest.directory is None:
        check_original(manifest, jobs[0].original)
    check_tasks(Finding(manifest), store.home)
    for job in jobs:
        check_memory(job)
    check_scored(jobs[0], store)
    if calibrated := next((job for job in jobs if reads_calibration(job.target)), None):
        check_calibration(calibrated, store)
        read, held_out = _calibration(calibrated, store), held_out_text(calibrated, store)
        if read and held_out:
            _raise(manifest, trouble(store.home, apart, read, held_out))


def check_fetched(job: Job, store: Store) -> None:
    """Raise ManifestError for a model of the Hub, now that it is here, or for texts that cannot be scored with it."""
    if job.original.directory is None:
        directory = store.result(job.original.fetch).directory
        job = replace(job, original=replace(job.original, directory=directory))
        check_original(job.manifest, job.original)
    check_scored(job, store)


def check_scored(job: Job, store: Store) -> None:
    """Raise ManifestError for evaluation text, if it is here, that cannot be scored."""
    if held_out := held_out_text(job, store):
        asked = job.manifest.evaluation
        _raise(job.manifest, trouble(store.home, scored, held_out, asked, subject_of(job.original)))
        for name, gate in job.manifest.gates.measured().items():
            if gate.packs:
                _raise(job.manifest, trouble(store.home, packed, held_out, name, gate, subject_of(job.original)))


def check_calibration(job: Job, store: Store) -> None:
    """Raise ManifestError for calibration text, if it is here, that is too short for what is asked, and for too few files."""
    if TASKS[job.original.task].reads:
        _raise(job.manifest, _few(job, store))
    if read := _calibration(job, store):
        asked, least = job.manifest.calibration, _rows(job.manifest)
        _raise(job.manifest, trouble(store.home, filled, read, asked, least, subject_of(job.original)))


def reading(texts: Texts, step: Step[Documents], store: Store, column: str = "text") -> Reading | None:
    """Return the documents of texts that are here, or None."""
    if texts.files:
        return Reading.of(texts)
    return Reading.fetched(texts, documents(store, step), column) if store.complete(step) else None


def held_out_text(job: Job, store: Store) -> Reading | None:
    """The texts of evaluation; None where they are not here, or rows begin with a file."""
    if TASKS[job.original.task].columns[0].is_file:
        return None
    return reading(job.manifest.evaluation, job.evaluation, store, next(iter(job.manifest.columns)))


def _calibration(job: Job, store: Store) -> Reading | None:
    """The texts of calibration; None where they are not here, or rows begin with a file."""
    if job.calibration is None or TASKS[job.original.task].reads:
        return None
    return reading(job.manifest.calibration, job.calibration, store)


def _few(job: Job, store: Store) -> Trouble | None:
    """Why rows that begin with a file are too few, if `samples` is written: then it is a demand."""
    asked, step, (first, *_) = job.manifest.calibration, job.calibration, TASKS[job.original.task].reads
    if step is None or "samples" not in asked.model_fields_set or not (asked.files or store.complete(step)):
        return None
    count = rows_of(asked, first, None) if asked.files else store.result(step).documents
    if count >= asked.samples:
        return None
    return Trouble(
        ("calibration", "samples"),
        f"asks for {asked.samples} rows, and there are {count}; give more, or ask for {count}",
    )


def _rows(manifest: Manifest) -> int:
    """Rows of calibration text without which work would end, or those that the manifest asks for in so many words."""
    if "samples" in manifest.calibration.model_fields_set:
        return manifest.calibration.samples
    searches = (target.search for target in manifest.targets.values() if reads_calibration(target))
    return 2 if any(search is not None and search.base.calibrated for search in searches) else 1


def _raise(manifest: Manifest, problem: Trouble | None) -> None:
    if problem is None:
        return
    section = str(problem.key[0])
    fetched = problem.key[1:] == ("files",) and not getattr(manifest, section).files
    raise Finding(manifest).error((section,) if fetched else problem.key, problem.text)
