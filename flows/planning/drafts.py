"""Drafts of speculative decoding: releases in the local hub, pinned to their commits, of the tokenizer of their target."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.errors import InputError
from catalog.formats import FORMATS
from catalog.libraries import installed
from flows.manifest.errors import nearest
from flows.manifest.model import Manifest, Target
from flows.planning.hub import SourceError
from flows.planning.memory import Reason
from publishers.destinations.local import Local

if TYPE_CHECKING:
    from flows.planning.jobs import Job
    from flows.planning.states import Planned

LIBRARY = "openvino-genai"
"""The distribution that counts what is accepted."""


@dataclass(frozen=True)
class Draft:
    """A release that guesses for a target."""

    name: str
    commit: str | None
    """None: it is not released yet, or is to be released anew first."""
    directory: Path | None
    """Its files in the local hub."""

    @property
    def bytes(self) -> int:
        """Of its weight files, as far as it is out."""
        patterns = {pattern for format_ in FORMATS.values() if format_.drafts for pattern in format_.weights}
        files = [file for pattern in patterns if self.directory for file in self.directory.glob(pattern)]
        return sum(file.stat().st_size for file in files)

    def said(self, candidates: int) -> dict[str, Any]:
        """What keys say of it, and of how many tokens it guesses at a time."""
        return {"release": self.name, "commit": self.commit, "candidates": candidates, LIBRARY: installed(LIBRARY)}


def release_of(manifest: Manifest, target: Target) -> str:
    """Name of the release that a target's draft is."""
    assert target.draft
    return target.draft if "/" in target.draft else manifest.release(target.draft)


def pinned(manifest: Manifest, target: Target, home: Path) -> Draft | None:
    """Return a target's draft as the local hub offers it now; None when it has none.

    Raises SourceError for a release that is not there, or is no draft for this model.
    """
    if target.draft is None:
        return None
    name, hub = release_of(manifest, target), Local("", home)
    release = next((each for each in hub.versions(name) if each.current), None)
    if release is None:
        if "/" in target.draft:
            have = sorted({each.name for each in hub.releases()})
            said = f"is {name}, and the local hub has no such release{nearest(name, have)}; release it first"
            raise SourceError(f"{manifest.path}: targets.{target.name}.draft: {said}")
        return Draft(name, None, None)
    assert release.directory
    if problem := _unfit(release.directory, manifest.directory):
        raise SourceError(f"{manifest.path}: targets.{target.name}.draft: is {name}, {problem}")
    return Draft(name, release.commit, release.directory)


def _unfit(draft: Path, model: Path | None) -> str | None:
    """What keeps a release from drafting for a model, as far as that is here."""
    if not any(_is_of(draft, name) for name, format_ in FORMATS.items() if format_.drafts):
        able = " or ".join(name for name, format_ in FORMATS.items() if format_.drafts)
        return f"which is not in format {able}, the only one that drafts; name another release"
    own, theirs = (_tokens(directory) if directory else None for directory in (model, draft))
    if own is None or theirs is None or own == theirs:
        return None
    odd = next((token for token in own if theirs.get(token) != own[token]), next(iter(theirs.keys() - own), ""))
    return (
        f"whose tokenizer is another: the token {odd!r} has number {theirs.get(odd)} there and {own.get(odd)} here, and a draft "
        "guesses by number; name a release with this model's tokenizer"
    )


def _is_of(directory: Path, format_: str) -> bool:
    row = FORMATS[format_]
    return all(any(directory.glob(pattern)) for pattern in (*row.files, *row.tokenizer))


def _tokens(directory: Path) -> dict[str, int] | None:
    """Every token's number; None for a model without tokenizer.json."""
    path = directory / "tokenizer.json"
    if not path.is_file():
        return None
    told = json.loads(path.read_bytes())
    vocabulary = told["model"]["vocab"]
    if isinstance(vocabulary, list):  # pieces with scores, in order
        vocabulary = {piece: number for number, (piece, _) in enumerate(vocabulary)}
    return {**vocabulary, **{added["content"]: added["id"] for added in told.get("added_tokens", ())}}


def held_back(planned: Sequence[Planned]) -> list[Planned]:
    """Say of jobs whose draft is a target of the same manifest how they stand by that.

    One whose draft is made in the same run waits for it; one whose draft was refused, and is not out, is refused, too.
    """
    by_release = {each.job.release: each for each in planned}
    return [_by_draft(each, by_release.get(each.job.draft.name)) if each.job.draft else each for each in planned]


def _by_draft(planned: Planned, draft: Planned | None) -> Planned:
    job = planned.job
    assert job.draft
    if draft and draft.state == "stale":
        waiting = replace(job, draft=Draft(job.draft.name, None, None))
        return replace(planned, job=waiting, state="stale", steps=_steps(planned), reason=_waits(job.draft.name))
    if job.draft.commit is not None:
        return planned
    why = f"its draft {job.draft.name} is not released" + (f": {draft.why}" if draft else "; leave --target out")
    state = "failed" if draft is None or draft.state in ("passed", "released") else draft.state
    return replace(planned, state=state, steps=(), reason=Reason(why, "its draft is not released"))


def _steps(planned: Planned) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*planned.steps, "gate", *(("publish",) if planned.job.target.release else ())]))


def _waits(name: str) -> Reason:
    return Reason(f"waits for its draft {name}", "waits for its draft")


def now(job: Job, home: Path) -> Job:
    """Return a job that waited with its draft as that is now."""
    return replace(job, draft=pinned(job.manifest, job.target, home)) if job.waits else job


def out(job: Job, home: Path) -> Job:
    """Return a job that waited, now that its draft is out. Raises InputError when it is still not released."""
    ready = now(job, home)
    if ready.waits:
        raise InputError(
            f"{job.release}: its draft {release_of(job.manifest, job.target)} was not released in this run, so "
            "what is accepted of it cannot be measured. See what kept it, or take `draft` out of the target."
        )
    return ready
