"""What a job, and a whole plan, will cost: the steps that are left, those that jobs share once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flows.planning.adapter_cost import adapting
from flows.planning.adapter_plan import PlannedAdapter
from flows.planning.batches import batches
from flows.planning.coefficients import IMPORTS
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
from flows.planning.plan import Plan
from flows.planning.states import Planned
from flows.step import Step

Work = tuple[str, ...]
"""What tells a piece of work from another: its kind, and its key as far as that is known before."""
_FORKED = {kind.name for kind in (BASELINE, SENSITIVITY, QUANTIZE)} | {"gate"}


class Predictions:
    """Prices of what is left to do, each worked out once: in a thousand manifests the same work stands many times."""

    def __init__(self) -> None:
        self._prices: dict[Work, Cost] = {}
        self._sizes: dict[str, int] = {}

    def of(self, planned: Planned) -> Cost:
        """Predict what is left of a job, were it the only one; of a ladder, up to the rung that is next."""
        works = list(self._priced(planned))
        total = _imports(works)
        for work in works:
            total = total.then(self._prices[work])
        return total

    def of_all(self, plan: Plan) -> Cost:
        """Predict what is left of a plan: what several jobs need counts once, and the recipes of one pass together."""
        works = dict.fromkeys(work for planned in plan.stale for work in self._priced(planned))
        total = _imports(works)
        for work in works:
            total = total.then(NOTHING if work[0] == QUANTIZE.name else self._prices[work])
        artifacts: dict[str, Planned] = {}
        for planned in plan.stale:
            if any(step.kind is QUANTIZE for step in planned.left):
                artifacts.setdefault(_artifact(planned), planned)
        models: dict[str, list[Planned]] = {}
        for planned in artifacts.values():
            models.setdefault(planned.job.baseline.key, []).append(planned)
        for made in models.values():
            for _, shared in batches(made):
                total = total.then(quantizing(shared))
        for adapter in plan.adapters:
            total = total.then(self.of_adapter(adapter) if adapter.state == "stale" else NOTHING)
        return total

    def of_adapter(self, planned: PlannedAdapter) -> Cost:
        """Predict what is left of an adapter; its base is priced by itself."""
        return adapting(planned)

    def _priced(self, planned: Planned) -> Iterator[Work]:
        """Yield the pieces of work that are left of a job, after making sure that each has its price."""
        job, artifact = planned.job, _artifact(planned)
        for step in planned.left:
            work: Work = (step.kind.name, artifact if step.kind is QUANTIZE else step.key)
            if work not in self._prices:
                self._prices[work] = price(step, planned)
            yield work
        if artifact not in self._sizes:
            self._sizes[artifact] = weights_bytes(job.original, planned.rung)
        size = self._sizes[artifact]
        if "gate" in planned.steps:
            work = ("gate", artifact, job.baseline.key, job.runtime(planned.rung).model_dump_json())
            if work not in self._prices:
                self._prices[work] = gating(job, planned.rung, size)
            yield work
        if "publish" in planned.steps:
            self._prices["publish", job.release] = publishing(size, job)
            yield ("publish", job.release)


def _imports(works: Iterable[Work]) -> Cost:
    """What steps share that are forked from one process."""
    return Cost(0, 0, IMPORTS) if any(kind in _FORKED for kind, *_ in works) else NOTHING


def _artifact(planned: Planned) -> str:
    """What tells the artifact from others; of a search it is not known yet what it will be, so it is its job's own."""
    return planned.job.quantize(planned.rung).key if planned.job.recipes_known else planned.job.release


def price(step: Step[Any], planned: Planned) -> Cost:
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
