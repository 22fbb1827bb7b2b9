"""A job of an adapter: one entry of `adapters` on one base, and its steps with everything that their keys are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from adapters import backends
from adapters.backends import Backend
from adapters.recipe import ComputeDtype
from adapters.request import Trained
from catalog.formats import ADAPTER
from flows.files.headers import Tensor
from flows.manifest.adapters import Adapter
from flows.manifest.model import Manifest
from flows.planning.jobs import flat
from flows.planning.kinds import (
    ADAPTER_EVIDENCE,
    ADAPTER_VERDICT,
    CONTAMINATION,
    PUBLISH,
    TEXTS,
    TRAIN,
    Documents,
    Judged,
)
from flows.planning.sources import Sources
from flows.planning.states import Planned
from flows.planning.tool_versions import versions
from flows.step import Step
from flows.store import Store
from gates.results import EvidenceResult, Overlap
from publishers.request import Result as Published
from quantizers.hardware.compute_dtype import fastest

DTYPES: dict[str, ComputeDtype] = {"fp32": "float32", "bf16": "bfloat16"}
"""What a manifest calls a dtype of products."""


@dataclass(frozen=True)
class AdapterJob:
    """One adapter of one manifest."""

    name: str
    """Its key below `adapters:`."""
    adapter: Adapter
    on: Planned
    """The job of its base, and how that stands."""
    base: str | None
    """Commit of the base in the local hub; None: what this manifest makes is not released there yet."""
    compute: ComputeDtype
    backend: Backend
    data: Step[Documents]
    held_out: Step[Documents]

    @property
    def manifest(self) -> Manifest:
        """The manifest that asks for it."""
        return self.on.job.manifest

    @property
    def release(self) -> str:
        """Name of the release."""
        return self.manifest.release(self.name)

    @property
    def base_release(self) -> str:
        """Name of the release that it belongs to."""
        return self.on.job.release

    @property
    def label(self) -> str:
        """What its recipe goes by in tables."""
        return f"qlora-r{self.adapter.rank}"

    @cached_property
    def linears(self) -> dict[str, Tensor]:
        """Linears that may get an update, by name: all of the base but the head."""
        return {
            name.removesuffix(".weight"): tensor
            for name, tensor in self.on.job.original.tensors.items()
            if name.endswith(".weight") and len(tensor.shape) == 2 and "embed" not in name and "head" not in name
        }

    @cached_property
    def updated(self) -> dict[str, Tensor]:
        """Those that get one."""
        wanted = self.adapter.target_modules
        return {
            name: tensor
            for name, tensor in self.linears.items()
            if not wanted or any(name == each or name.endswith(f".{each}") for each in wanted)
        }

    @property
    def parameters(self) -> int:
        """Numbers that are trained."""
        return self.adapter.rank * sum(sum(tensor.shape) for tensor in self.updated.values())

    @property
    def general(self) -> Step[Documents]:
        """The text on which the base must stay what it was."""
        return self.on.job.evaluation

    @property
    def prepared(self) -> list[Step[Any]]:
        """What comes before training: texts, and making sure that those it is judged by share nothing with those it learns."""
        judged_by = (self.held_out, self.general)
        return [self.data, *judged_by, *(self.contamination(each) for each in judged_by)]

    def contamination(self, held_out: Step[Documents]) -> Step[Overlap]:
        """Making sure that a text shares no content with the training text."""
        texts = {"evaluation": held_out.key, "calibration": self.data.key}
        return CONTAMINATION.step({**texts, "tools": versions("contamination")})

    @cached_property
    def train(self) -> Step[Trained]:
        """Training it. Nothing is ever stored under the key of a base that is not known yet."""
        inputs = {
            "base": {"name": self.base_release, "commit": self.base},
            "texts": self.data.key,
            "recipe": self.adapter.recipe.model_dump(mode="json"),
            "compute": self.compute,
            "backend": self.backend if self.adapter.processes > 1 else None,
            "tools": versions("train"),
        }
        return TRAIN.step(inputs)

    def evidence(self, content: str) -> Step[EvidenceResult]:
        """Scoring it, these very bytes, beside its base."""
        return ADAPTER_EVIDENCE.step({"artifact": self.train.key, "content": content, **self._judged_by})

    @cached_property
    def verdict(self) -> Step[Judged]:
        """Judging it."""
        inputs = {
            "artifact": self.train.key,
            **self._judged_by,
            "gates": self.adapter.gates.model_dump(mode="json"),
            "evaluator": self._judged_by["tools"],
            "tools": versions("adapter-verdict"),
        }
        return ADAPTER_VERDICT.step(inputs)

    @property
    def _judged_by(self) -> dict[str, Any]:
        read, general = self.adapter.held_out, self.manifest.evaluation
        return {
            "held_out": {"texts": self.held_out.key, "tokens": read.tokens, "documents": read.documents},
            "general": {"texts": self.general.key, "tokens": general.tokens, "documents": general.documents},
            "tools": versions("adapter-evidence", format=ADAPTER.name, task=self.manifest.model.task),
        }

    @cached_property
    def publish(self) -> Step[Published]:
        """Releasing it once it passed."""
        inputs = {
            "verdict": self.verdict.key,
            "name": self.release,
            "to": list(self.manifest.publish.to),
            "private": self.manifest.publish.private,
            "endpoint": None,
            "tools": versions("publish"),
        }
        return PUBLISH.step(inputs)

    @property
    def evaluation(self) -> dict[str, Any]:
        """What it is judged on, for its card."""
        where = {"held_out": self.adapter.held_out.where, "general": self.manifest.evaluation.where}
        return {name: {"where": said, **self._judged_by[name]} for name, said in where.items()}

    def ingredients(self) -> dict[str, str | None]:
        """Return, in a person's words, all that decides the outcome."""
        said = {
            "base": f"{self.base_release}@{self.base}",
            "data": self.data.inputs["source"],
            "held_out": self.held_out.inputs["source"],
            "general": self.general.inputs["source"],
            "recipe": self.adapter.recipe.model_dump(mode="json"),
            "compute": self.compute,
            "backend": self.backend if self.adapter.processes > 1 else None,
            "gates": self.adapter.gates.model_dump(mode="json"),
            "tools": versions("train"),
        }
        return dict(flat(said))


def adapter_jobs(manifest: Manifest, bases: dict[str, Planned], sources: Sources, store: Store) -> list[AdapterJob]:
    """Return a job for each adapter whose base is among `bases`, by target, with its texts pinned. Raises SourceError."""
    made = []
    for name, adapter in manifest.adapters.items():
        if (on := bases.get(adapter.base)) is None:
            continue
        tools = versions("texts")
        data, held_out = (
            TEXTS.step({"source": sources.texts(texts), "tools": tools}) for texts in (adapter.data, adapter.held_out)
        )
        compute = fastest("cpu") if adapter.compute == "auto" else DTYPES[adapter.compute]
        backend = backends.preferred() if adapter.backend == "auto" else adapter.backend
        made.append(AdapterJob(name, adapter, on, _commit(on, store), compute, backend, data, held_out))
    return made


def _commit(on: Planned, store: Store) -> str | None:
    """The commit of a base that is released as it would be made today."""
    record = store.record(on.job.publish(on.rung)) if on.state == "released" else None
    places = record.result.places if record else ()
    return next((place.commit for place in places if place.to == "local"), None)
