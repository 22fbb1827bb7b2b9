"""A job, one model for one target, and the steps it takes, each with everything that its key is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from catalog.destinations import kind_of
from catalog.formats import FORMATS
from catalog.runtime import RuntimeOptions
from catalog.tasks import TASKS
from flows.manifest.model import Manifest, Rung, Search, Target
from flows.planning.budgets import budgeted
from flows.planning.drafts import Draft, pinned
from flows.planning.kinds import (
    BASELINE,
    CONTAMINATION,
    CONTROL,
    EVIDENCE,
    PUBLISH,
    QUANTIZE,
    SENSITIVITY,
    TEXTS,
    VERDICT,
    Artifact,
    Documents,
    Judged,
)
from flows.planning.runtime import resolved
from flows.planning.sources import Original, Sources
from flows.planning.tool_versions import versions
from flows.step import Kind, Result, Step
from gates.results import Baseline, EvidenceResult, Overlap
from gates.spec import kept
from publishers.request import Result as Published
from quantizers.hardware.compute_dtype import fastest
from quantizers.request import SensitivityResult


@dataclass(frozen=True)
class Job:
    """One model at one commit for one target of one manifest."""

    manifest: Manifest
    target: Target
    original: Original
    evaluation: Step[Documents]
    calibration: Step[Documents] | None
    """None when no recipe of the manifest reads any: then a change of that text changes nothing."""
    baseline: Step[Baseline]
    """Scoring the original; the same for every target of the model."""
    endpoint: str
    """The server it would go to, when it goes over the network."""
    draft: Draft | None = None
    """What guesses tokens for it, if the target has a draft."""
    recipes_known: bool = True
    """Whether the target's recipes are known; those of a search follow from its sensitivities (`mixed_precision`)."""
    _made: dict[tuple[str, str], Step[Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def release(self) -> str:
        """Name of the release."""
        return self.manifest.release(self.target.name)

    @property
    def waits(self) -> bool:
        """Whether its draft is to be released first."""
        return self.draft is not None and self.draft.commit is None

    @property
    def prepared(self) -> list[Step[Any]]:
        """What comes before any recipe, in order: model and texts, scores of the original, sensitivities if it searches.

        Texts are compared only where one is calibrated on.
        """
        steps: list[Step[Any]] = [self.original.fetch] if self.original.directory is None else []
        steps.append(self.evaluation)
        if self.calibration and reads_calibration(self.target):
            steps += [self.calibration, self.contamination(self.calibration)]
        steps.append(self.baseline)
        return [*steps, self.sensitivity(self.target.search)] if self.target.search else steps

    def contamination(self, calibration: Step[Documents]) -> Step[Overlap]:
        """Making sure that the evaluation text shares no content with the calibration text."""
        texts = {"evaluation": self.evaluation.key, "calibration": calibration.key}
        return CONTAMINATION.step({**texts, "tools": versions("contamination")})

    def sensitivity(self, search: Search) -> Step[SensitivityResult]:
        """Measuring what each dtype does to each group of linears; shared by all budgets."""
        inputs = {
            "model": self.original.identity,
            "recipe": search.base.model_dump(mode="json"),
            "dtypes": sorted(search.auto.dtypes),
            "calibration": self._text(),
            "tools": versions("sensitivity", format=search.base.format, engine=search.base.engine),
        }
        return SENSITIVITY.step(inputs)

    def _text(self) -> dict[str, Any] | None:
        if self.calibration is None:
            return None
        return {"texts": self.calibration.key, **self.manifest.calibration.reading}

    def _once(self, kind: Kind[Result], rung: Rung, inputs: Callable[[Rung], dict[str, Any]]) -> Step[Result]:
        """Return the step of a rung, the same object every time: its key is worked out once."""
        key = (kind.name, rung.name)
        if key not in self._made:
            self._made[key] = kind.step(inputs(rung))
        return self._made[key]

    def quantize(self, rung: Rung) -> Step[Artifact]:
        """Making the artifact of one recipe. Shared by all targets, of whatever name, that ask for the same bits."""
        return self._once(QUANTIZE, rung, self._quantize)

    def _quantize(self, rung: Rung) -> dict[str, Any]:
        recipe, task = rung.recipe, self.original.task
        reader = task if recipe.calibrated and TASKS[task].reads else None
        inputs = {
            "model": self.original.identity,
            "recipe": recipe.model_dump(mode="json"),
            "calibration": self._text() if recipe.calibrated else None,
            "tools": versions("quantize", format=recipe.format, engine=recipe.engine, task=reader),
        }
        # Nothing is ever stored under the keys of a recipe that is not known yet.
        return inputs if self.recipes_known else {**inputs, "recipe": None}

    def evidence(self, rung: Rung, documents: int, content: str) -> Step[EvidenceResult]:
        """Scoring one artifact, these very bytes, against the baseline on its first `documents` documents."""
        inputs = {
            "artifact": self.quantize(rung).key,
            "content": content,
            "baseline": self.baseline.key,
            "documents": documents,
            **self._runs_with(rung),
            "speed": self.manifest.gates.speed is not None,
            **({"overflow": True} if self.manifest.gates.overflow else {}),
            **self._drafted,
            "measured": kept(self.original.task),
            "tools": versions("evidence", format=rung.recipe.format, task=self.original.task),
        }
        return EVIDENCE.step(inputs)

    def control(self, rung: Rung, content: str) -> Step[EvidenceResult]:
        """Scoring a spoiled copy of one artifact, these very bytes: nothing is released while its gates let that pass."""
        inputs = {
            "artifact": self.quantize(rung).key,
            "content": content,
            "baseline": self.baseline.key,
            **self._runs_with(rung),
            "tools": versions("evidence", format=rung.recipe.format, task=self.original.task),
        }
        return CONTROL.step(inputs)

    def verdict(self, rung: Rung) -> Step[Judged]:
        """Judging one artifact by the manifest's gates, with as many documents as that takes."""
        return self._once(VERDICT, rung, self._verdict)

    def _verdict(self, rung: Rung) -> dict[str, Any]:
        # One of several recipes is judged more strictly, for the first that passes is released.
        recipes = {"recipes": len(self.target.rungs)} if len(self.target.rungs) > 1 else {}
        return recipes | {
            "artifact": self.quantize(rung).key,
            "baseline": self.baseline.key,
            **self._runs_with(rung),
            **self._drafted,
            # A gate that is not asked for is not in the key, so that a new kind of gate judges nothing anew.
            "gates": self.manifest.gates.model_dump(mode="json", exclude_none=True),
            "evaluator": versions("evidence", format=rung.recipe.format, task=self.original.task),
            "tools": versions("verdict"),
        }

    def runtime(self, rung: Rung) -> RuntimeOptions:
        """What the artifact of a rung is run with, on the machine that plans."""
        return resolved(self.target.runtime, rung.recipe)

    def _runs_with(self, rung: Rung) -> dict[str, Any]:
        """What keys say of that: the device, and what is asked for beside it if anything is."""
        said = self.runtime(rung).said
        said.pop("device", None)
        judge = {"judge": "streamed"} if self.streams(rung) else {}
        return {"device": self.target.runtime.device, **({"runtime": said} if said else {}), **judge}

    def streams(self, rung: Rung) -> bool:
        """Whether the artifact of a rung is scored a block at a time."""
        return self.manifest.judge == "streamed" and FORMATS[rung.recipe.format].streamer is not None

    @property
    def _drafted(self) -> dict[str, Any]:
        gate = self.manifest.gates.acceptance
        return {"draft": self.draft.said(gate.candidates)} if self.draft and gate else {}

    def publish(self, rung: Rung) -> Step[Published]:
        """Releasing the artifact of a rung that passed."""
        publish = self.manifest.publish
        inputs = {
            "verdict": self.verdict(rung).key,
            "name": self.release,
            "to": list(publish.to),
            "private": publish.private,
            "endpoint": self.endpoint if any(kind_of(to).network for to in publish.to) else None,
            "tools": versions("publish"),
        }
        return PUBLISH.step(inputs)

    def ingredients(self) -> dict[str, str]:
        """Return, in a person's words, all that decides the outcome; comparing two says why a job is to run again."""
        publish = self.manifest.publish
        said: dict[str, Any] = {
            "model": self.original.revision,
            "calibration": self.calibration
            and {**self.calibration.inputs["source"], **self.manifest.calibration.reading},
            "evaluation": {**self.evaluation.inputs["source"], **self.baseline.inputs["evaluation"]},
            **self.target.runtime.model_dump(mode="json", exclude_none=True),
            "gates": self.manifest.gates.model_dump(mode="json", exclude_none=True),
            "publish": {"to": list(publish.to), "private": publish.private},
            **self._drafted,
        }
        if any(self.streams(rung) for rung in self.target.rungs):
            said["judge"] = self.manifest.judge
        tools: dict[str, str] = {}
        search = self.target.search
        recipes = [search.base] if search else [rung.recipe for rung in self.target.rungs]
        if search:
            said["auto"] = search.auto.model_dump(mode="json", exclude_none=True)
        for number, recipe in enumerate(recipes, 1):
            name = "recipe" if len(recipes) == 1 else f"recipe {number}"
            said[name] = recipe.model_dump(mode="json")
            for step in ("quantize", "evidence"):
                tools |= versions(step, format=recipe.format, engine=recipe.engine)
        said["tools"] = {name: version for name, version in tools.items() if name != "quantmill"}
        return dict(flat(said))


def flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested facts as pairs of a dotted name and words."""
    rows = []
    for name, item in value.items():
        rows += flat(item, f"{prefix}{name}.") if isinstance(item, dict) else [(prefix + name, str(item))]
    return rows


def with_compute_dtype(manifest: Manifest) -> Manifest:
    """Return the manifest with the dtype that `calibration.compute: auto` stands for on this machine.

    Products in another dtype round other bits: what is chosen goes into keys, records and requests.
    """
    calibration = manifest.calibration
    if calibration.compute != "auto":
        return manifest
    chosen = calibration.model_copy(update={"compute": fastest(calibration.device)})
    return manifest.model_copy(update={"calibration": chosen})


def reads_calibration(target: Target) -> bool:
    """Whether a target's recipes, or the search for them, read calibration text."""
    return target.search is not None or any(rung.recipe.calibrated for rung in target.rungs)


def jobs(manifest: Manifest, sources: Sources, endpoint: str) -> list[Job]:
    """Return the manifest's jobs, one a target, with model and texts pinned. Raises SourceError."""
    manifest = with_compute_dtype(manifest)
    original = sources.original(manifest)
    tools = versions("texts")
    evaluation = TEXTS.step({"source": sources.rows(manifest), "tools": tools})
    calibration = None
    if any(map(reads_calibration, manifest.targets.values())):
        calibration = TEXTS.step({"source": sources.calibration(manifest), "tools": tools})
    # Artifacts are asked what the original was asked, so that the baseline's key says it for all.
    asked = sources.measured(manifest)
    baseline = BASELINE.step(
        {
            "model": original.identity,
            "evaluation": {
                "texts": evaluation.key,
                "tokens": manifest.evaluation.tokens,
                "documents": manifest.evaluation.documents,
            },
            "tasks": sources.tasks(manifest),
            **({"asked": asked} if asked else {}),
            "tools": versions("baseline") | (versions("tasks") if manifest.gates.tasks else {}),
        },
    )
    return [
        Job(
            budgeted(manifest, target),
            target,
            original,
            evaluation,
            calibration,
            baseline,
            endpoint,
            pinned(manifest, target, sources.home),
            recipes_known=target.search is None,
        )
        for target in manifest.targets.values()
    ]
