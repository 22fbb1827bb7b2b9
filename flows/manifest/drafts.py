"""What a target says of `draft`, and what of it can be told to be wrong from the manifest alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from catalog.formats import FORMATS
from flows.manifest.errors import choices, nearest
from flows.manifest.names import fault_of_id
from flows.manifest.scalars import kind_of
from flows.manifest.yaml_source import Key, Source

if TYPE_CHECKING:
    from flows.manifest.model import Manifest, Target

TASK = "text-generation"
"""What drafts are for."""


def draft_of(source: Source, key: Key, fields: dict[str, Any]) -> str | None:
    """Take out of `fields` what is written of a target's draft at `key`. Raises ManifestError."""
    draft = fields.pop("draft", None)
    if not isinstance(draft, str | None):
        allowed = "the name of another target, or of a release, namespace/name"
        raise source.error((*key, "draft"), f"is {kind_of(draft)}; allowed: {allowed}")
    return draft


def refuse_unfit(source: Source, manifest: Manifest) -> None:
    """Refuse drafts that cannot be any, and a gate about them where there is none. Raises ManifestError."""
    drafted = {name: target for name, target in manifest.targets.items() if target.draft}
    if manifest.gates.acceptance and not drafted:
        said = "is about drafts, and no target names one: give a target `draft`, or leave the gate out"
        raise source.error(("gates", "acceptance"), said)
    for name, target in drafted.items():
        if problem := _problem(manifest, target):
            raise source.error(("targets", name, "draft"), problem)


def _problem(manifest: Manifest, target: Target) -> str | None:
    if manifest.model.task != TASK:
        return f"is for {TASK}, and the model's task is {manifest.model.task}"
    if manifest.publish.to != ("local",):
        return "is pinned to the commit that it has in the local hub; publish: {to: local} alone fits that"
    if other := _undrafted(target):
        return f"is for targets in format {_able()}, which a draft speeds up, and this is in {other}"
    assert target.draft
    if "/" in target.draft:
        if target.draft.lower() == manifest.release(target.name).lower():
            return f"is {target.draft}, which is this target"
        wrong = fault_of_id(target.draft)
        return f"is {target.draft!r}, which {wrong}" if wrong else None
    draft = manifest.targets.get(target.draft)
    if draft is None:
        have = choices(manifest.targets) + nearest(target.draft, manifest.targets)
        return f"is {target.draft!r}, and there is no such target{have}; a release has its namespace before its name"
    if draft is target or draft.draft:
        return f"is {target.draft}, which {'is this target' if draft is target else 'has a draft of its own'}"
    if not draft.release:
        return f"is {target.draft}, which this manifest does not release (release: false)"
    other = _undrafted(draft)
    return f"is {target.draft}, in format {other}, which drafts for none; allowed: format {_able()}" if other else None


def _undrafted(target: Target) -> str | None:
    """A format of a target's recipes that runs no draft."""
    return next((rung.recipe.format for rung in target.rungs if not FORMATS[rung.recipe.format].drafts), None)


def _able() -> str:
    return " or ".join(name for name, format_ in FORMATS.items() if format_.drafts)
