"""What is remembered of a release between runs: `HOME/jobs/<release>.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from flows.files.cache import kept
from flows.files.durable import write_durably
from flows.manifest.model import Manifest
from flows.store import Store

_TOLD = 3
"""Changes told one by one."""


class Remembered(Protocol):
    """What makes a release."""

    @property
    def manifest(self) -> Manifest:
        """The manifest that asks for it."""

    @property
    def release(self) -> str:
        """Its name."""

    def ingredients(self) -> Mapping[str, str | None]:
        """In a person's words, all that decides the outcome."""


@dataclass(frozen=True)
class Reason:
    """Why a job is to be done, or was not released."""

    sentence: str
    kind: str
    """The same without what is this job's alone: jobs with one kind are counted together."""

    @classmethod
    def plain(cls, sentence: str) -> Reason:
        """Return a reason in which nothing is one job's alone."""
        return cls(sentence, sentence)


class Memory(BaseModel):
    """Who made a release, and of what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    manifest: Path
    """The manifest that asked for it last; its jobs are what the store is kept for."""
    ingredients: dict[str, str | None] | None = None
    """All that decided the outcome (`ingredients`); None before there was one."""


def _place(release: str, store: Store) -> Path:
    return store.home / "jobs" / f"{release.replace('/', '--')}.json"


def recall(job: Remembered, store: Store) -> Memory | None:
    """Return what is remembered of a job's release."""
    return kept(_place(job.release, store), Memory)


def manifest_of(release: str, store: Store) -> Path | None:
    """Return the manifest that asked for a release last, if it is still there."""
    memory = kept(_place(release, store), Memory)
    return memory.manifest if memory and memory.manifest.exists() else None


def memories(store: Store) -> Iterator[Memory]:
    """Yield what is remembered of every release."""
    for path in sorted((store.home / "jobs").glob("*.json")):
        if memory := kept(path, Memory):
            yield memory


def claim(job: Remembered, store: Store) -> None:
    """Remember before any work which manifest asks for the release."""
    before = recall(job, store)
    _keep(job, Memory(manifest=job.manifest.path, ingredients=before and before.ingredients), store)


def remember(job: Remembered, store: Store) -> None:
    """Remember what the job was made of, so that the next plan can say what has changed."""
    _keep(job, Memory(manifest=job.manifest.path, ingredients=dict(job.ingredients())), store)


def _keep(job: Remembered, memory: Memory, store: Store) -> None:
    path = _place(job.release, store)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, memory.model_dump_json(indent=1).encode())


def changes(job: Remembered, store: Store) -> Reason | None:
    """Return what differs from the last time the job was done; None when it never was."""
    memory = recall(job, store)
    if memory is None or memory.ingredients is None:
        return None
    before, now = memory.ingredients, job.ingredients()
    changed = [name for name in sorted(now.keys() | before.keys()) if now.get(name) != before.get(name)]
    if not changed:
        return Reason.plain("its result is no longer in the store")
    told = [f"{name} {_short(before.get(name))} → {_short(now.get(name))}" for name in changed[:_TOLD]]
    return Reason(_listed(told, len(changed)), _listed(changed[:_TOLD], len(changed)))


def _listed(told: list[str], count: int) -> str:
    more = f" and {count - _TOLD} more" if count > _TOLD else ""
    return "changed: " + ", ".join(told) + more


def _short(value: str | None) -> str:
    if value is None:
        return "absent"
    return value if len(value) <= 24 else f"{value[:20]}…"
