"""What an artifact of an archived stack is measured against: the recipe that is kept up and makes the same."""

from __future__ import annotations

from dataclasses import replace

from pydantic import ValidationError

from catalog.formats import FORMATS
from catalog.tasks import TASKS
from flows.manifest.model import Rung
from flows.manifest.presets import name_of
from flows.planning.jobs import Job
from flows.planning.kinds import EVIDENCE
from flows.planning.plan import verdict_of
from flows.reports.verdict_page import evidence_of
from flows.store import Store
from gates.evidence import Evidence
from gates.judging.summary import summarize
from publishers.request import Equal
from quantizers.recipe import Recipe


def maintained(recipe: Recipe) -> Recipe | None:
    """Return the recipe of a format that is kept up that stores the same in the same way; None where nobody gave it up."""
    for name in FORMATS[recipe.format].equals:
        try:
            return Recipe.model_validate({**recipe.model_dump(), "engine": "streaming", "format": name})
        except ValidationError:  # of another dtype, or of another group size
            continue
    return None


def equal_of(job: Job, rung: Rung, store: Store) -> Equal | None:
    """Return the equal of a rung, with what both measured on the documents that both were scored on, if it was gated, too."""
    recipe = maintained(rung.recipe)
    if recipe is None:
        return None
    plain = Equal(name=name_of(recipe), recipe=recipe.model_dump(mode="json"))
    own = _evidence(job, rung, store)
    for target in job.manifest.targets.values():
        for each in target.rungs:
            if each.recipe == recipe and own and (theirs := _evidence(replace(job, target=target), each, store)):
                return plain.model_copy(update=_beside(own, theirs, target.name))
    return plain


def _evidence(job: Job, rung: Rung, store: Store) -> Evidence | None:
    verdict = verdict_of(job, rung, store)
    step = EVIDENCE.at(verdict.result.evidence) if verdict else None
    return evidence_of(store, step) if step and store.record(step) else None


def _beside(own: Evidence, theirs: Evidence, target: str) -> dict[str, object]:
    both = {each.index for each in own.documents} & {each.index for each in theirs.documents}
    harm = TASKS[own.task].harm
    values = []
    for evidence in (own, theirs):
        summary = summarize(tuple(each for each in evidence.documents if each.index in both), evidence.task)
        values.append(summary.values[harm] if summary else None)
    return {
        "target": target,
        "documents": len(both),
        "harm": harm,
        "own": values[0],
        "theirs": values[1],
        "bytes": theirs.size.artifact_bytes,
    }
