"""What a job, and a whole plan, will cost: the steps that are left, those that jobs share once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any

from flows.planning.batches import batches
from flows.planning.cost import (
    NOTHING,
    Cost,
    fetching,
    gating,
    measuring_sensitivity,
    publishing,
    quantizing,
    reading_texts,
    scoring_original,
    weights_bytes,
)
from flows.planning.kinds import BASELINE, FETCH, QUANTIZE, SENSITIVITY, TEXTS
from flows.planning.plan import Plan, Planned
from flows.step import Step

Work = tuple[Any, ...]
"""What tells a piece of work from another: its step, as far as that is known before."""


def predict(planned: Planned) -> Cost:
    """Predict what is left of a job, were it the only one; of a ladder, up to the rung that is next."""
    return _sum(cost for _, cost in _left(planned))


def predict_all(plan: Plan) -> Cost:
    """Predict what is left of a plan: what several jobs need is priced once, and recipes of one pass together."""
    left = {work: cost for planned in plan.stale for work, cost in _left(planned) if work[0] != QUANTIZE.name}
    made: dict[str, Planned] = {}
    for planned in plan.stale:
        if any(step.kind is QUANTIZE for step in planned.left):
            made.setdefault(_artifact(planned), planned)
    models: dict[str, list[Planned]] = {}
    for planned in made.values():
        models.setdefault(planned.job.baseline.key, []).append(planned)
    passes = [quantizing(work) for group in models.values() for _, work in batches(group)]
    return _sum([*left.values(), *passes])


def _artifact(planned: Planned) -> str:
    """What tells the artifact from others; of a search it is not known yet what it will be, so it is its job's own."""
    return planned.job.quantize(planned.rung).key if planned.job.recipes_known else planned.job.release


def _left(planned: Planned) -> Iterator[tuple[Work, Cost]]:
    """Each piece of work that is left of a job, and its price."""
    job, rung = planned.job, planned.rung
    for step in planned.left:
        yield (step.kind.name, step.key), priced(step, planned)
    size = weights_bytes(job.original, rung)
    if "gate" in planned.steps:
        yield ("gate", _artifact(planned), job.baseline.key, job.target.device), gating(job, rung, size)
    if "publish" in planned.steps:
        yield ("publish", job.release), publishing(size, job)


def priced(step: Step[Any], planned: Planned) -> Cost:
    """Price one of the steps that are left of a job, up to its artifact."""
    job = planned.job
    if step.kind is FETCH:
        return fetching(job.original)
    if step.kind is TEXTS:
        return reading_texts(job.manifest.evaluation if step == job.evaluation else job.manifest.calibration)
    if step.kind is BASELINE:
        return scoring_original(job)
    if step.kind is SENSITIVITY:
        return measuring_sensitivity(job)
    if step.kind is QUANTIZE:
        return quantizing([(job, planned.rung)])
    return NOTHING  # worked out in place


def _sum(costs: Iterable[Cost]) -> Cost:
    return reduce(Cost.then, costs, NOTHING)
