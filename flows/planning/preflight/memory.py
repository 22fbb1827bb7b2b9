"""Whether a step can keep to the memory that a manifest gives it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from catalog.formats import FORMATS
from flows.manifest.model import Manifest
from flows.planning.adapter_cost import judging, training
from flows.planning.adapter_jobs import AdapterJob
from flows.planning.cost import gating, quantizing, scoring_original, weights_bytes
from flows.planning.jobs import Job
from flows.planning.original_memory import held
from flows.planning.preflight.finding import Finding

_ERROR = 1.5
"""Factor that a prediction may be off by."""


def check_memory(job: Job) -> None:
    """Raise ManifestError when a step needs more than the budget, though it spills all it can to disk."""
    budget, weights = job.manifest.memory_bytes, held(job)
    continued = [name for name, gate in job.manifest.gates.asked() if gate.generates]
    if continued and weights.hold_bytes is not None:
        raise Finding(job.manifest).error(
            ("gates", continued[0]),
            f"holds artifacts against what {job.original.name} generates, and its weights do not fit in memory together: each "
            "token would read all of them; leave this gate out, or give it more memory",
        )
    if budget is None:
        return
    for needed, what, instead in _steps(job):
        _refuse_over(job.manifest, budget, needed, what, instead)


def check_training_memory(job: AdapterJob) -> None:
    """Raise ManifestError when training or judging an adapter needs more than the budget."""
    if (budget := job.manifest.memory_bytes) is None:
        return
    recipe = job.adapter.recipe
    at_once = f" ({recipe.processes} × micro_batch {recipe.micro_batch} × {recipe.tokens} tokens at a time)"
    _refuse_over(job.manifest, budget, training(job).memory_bytes, f"training adapter {job.name}", at_once)
    _refuse_over(job.manifest, budget, judging(job).memory_bytes, f"judging adapter {job.name}", "")


def _refuse_over(manifest: Manifest, budget: int, needed: int, what: str, instead: str) -> None:
    if needed > _ERROR * budget:
        raise Finding(manifest).error(
            ("memory",),
            f"is {budget / 1e6:.0f} MB, and {what} takes about {needed / 1e6:.0f} MB{instead}; give that at least, or leave "
            "memory out",
        )


def _steps(job: Job) -> Iterator[tuple[int, str, str]]:
    """What each step takes at the least, its hidden states and the original's weights on disk."""
    tight = replace(job, manifest=job.manifest.model_copy(update={"memory_bytes": 1}))
    on_disk = " however much of it is kept on disk"
    for rung in job.target.rungs:
        yield quantizing([(tight, rung)]).memory_bytes, f"target {job.target.name}", on_disk
    yield scoring_original(tight).memory_bytes, "scoring the original", on_disk
    for rung in job.target.rungs:
        format_, asked = FORMATS[rung.recipe.format], tight if job.streams(rung) else job
        needed = gating(asked, rung, weights_bytes(job.original, rung)).memory_bytes
        why = "" if format_.small_in_memory else f", because {format_.client.module} unpacks {format_.name}"
        if format_.streamer and not job.streams(rung):
            why += " (`judge: streamed` scores it a block at a time)"
        yield needed, f"scoring target {job.target.name}", why
