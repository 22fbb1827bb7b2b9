"""What is known to be wrong with adapters before anything is trained: texts, and linears that take no such update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from flows.manifest.errors import choices, nearest
from flows.manifest.yaml_source import Key
from flows.planning.adapter_jobs import AdapterJob
from flows.planning.preflight import subject_of
from flows.planning.preflight.files import Subject
from flows.planning.preflight.finding import Finding
from flows.planning.preflight.memory import check_training_memory
from flows.planning.preflight.planned import reading
from flows.planning.preflight.texts import Reading, apart, trouble
from flows.planning.preflight.tokenizer import load
from flows.store import Store

_LEAST = 5
"""Documents that bound anything (`gates.statistics.intervals`)."""
_ENOUGH = 8
"""Characters for each token that is asked for, of which no tokenizer makes too few: they are not counted then."""


def check_adapters(jobs: Sequence[AdapterJob], store: Store) -> None:
    """Raise ManifestError for what of some adapters would be refused once work has begun."""
    for job in jobs:
        check_training_memory(job)
        finding, key = Finding(job.manifest), ("adapters", job.name)
        for at, problem in _problems(job, store):
            raise finding.error((*key, *at), problem)


def _problems(job: AdapterJob, store: Store) -> Iterator[tuple[Key, str]]:
    yield from _of_linears(job)
    data = reading(job.adapter.data, job.data, store)
    held_out = reading(job.adapter.held_out, job.held_out, store)
    if data and (problem := _short(job, data, subject_of(job.on.job.original))):
        yield ("data",), problem
    if held_out and len(list(islice(held_out.documents(), _LEAST))) < _LEAST:
        yield ("held_out",), f"holds fewer than {_LEAST} documents, which bound nothing; give more"
    judges: tuple[tuple[Reading | None, Key], ...] = (
        (held_out, ("held_out",)),
        (reading(job.manifest.evaluation, job.general, store), ("data",)),
    )
    for judged_by, at in judges:
        if data and judged_by and (shared := trouble(store.home, apart, data, judged_by)):
            yield at, shared.text.replace("calibration text", "training text").replace("calibrated on", "trained on")


def _of_linears(job: AdapterJob) -> Iterator[tuple[Key, str]]:
    """Yield modules that end the name of no linear, and a rank that is no lower than a linear's own."""
    for number, wanted in enumerate(job.adapter.target_modules):
        if not any(name == wanted or name.endswith(f".{wanted}") for name in job.linears):
            ends = sorted({name.rpartition(".")[2] for name in job.linears})
            yield (
                ("target_modules", number),
                f"{wanted!r} ends the name of no linear{choices(ends)}{nearest(wanted, ends)}",
            )
    for name, tensor in job.updated.items():
        if job.adapter.rank > min(tensor.shape):
            shape = " × ".join(map(str, tensor.shape))
            yield (
                ("rank",),
                f"is {job.adapter.rank}, more than the rank of {name}, which is {shape}; {min(tensor.shape)} at most",
            )


def _short(job: AdapterJob, data: Reading, subject: Subject) -> str | None:
    """Say that the text fills no step, as far as the tokenizer is here."""
    recipe, tokenizer = job.adapter.recipe, load(subject)
    needed = recipe.batch * recipe.tokens
    if tokenizer is None or sum(len(text) for _, text in data.documents()) >= _ENOUGH * needed:
        return None
    count = 0
    for _, text in data.documents():
        count += len(tokenizer.encode(text).ids) + 1
    if count >= needed:
        return None
    return (
        f"makes {count:,} tokens, and a step reads {recipe.batch} rows of {recipe.tokens}; give more text, or fewer rows per "
        "step (batch) or tokens per row"
    )
