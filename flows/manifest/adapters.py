"""What is written below `adapters:`, and what of it can be told to be wrong from the manifest alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from adapters.recipe import Recipe
from catalog.formats import FORMATS
from flows.manifest.errors import choices, nearest
from flows.manifest.names import fault
from flows.manifest.texts import Texts
from flows.manifest.yaml_source import Source
from gates.adapters.limits import AdapterGates

if TYPE_CHECKING:
    from flows.manifest.model import Manifest

TASK = "text-generation"
"""What adapters are trained for."""


class TaskTexts(Texts):
    """Documents of the task, which no data set stands in for."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if bool(self.files) == bool(self.source):
            raise ValueError("names either files, or a data set of the Hub with source")
        return self


class HeldOut(TaskTexts):
    """Documents of the task that are not trained on: what was learned is measured on these."""

    tokens: int = Field(512, ge=2, le=1 << 20)
    """Tokens of a document that are scored, at the most."""
    documents: int | None = Field(None, ge=5)
    """Documents scored, at the most. Default: all."""


class Adapter(Recipe):
    """Low-rank updates of one target, trained beside its packed weights (QLoRA)."""

    base: str
    """A target of this manifest, in format bitsandbytes: the release that the adapter belongs to."""
    data: TaskTexts
    """Text that it is trained on. A data set of the Hub: split train, unless another is given."""
    held_out: HeldOut
    """Text of the same kind; must not overlap `data`. A data set of the Hub: split test, unless another is given."""
    compute: Literal["auto", "fp32", "bf16"] = "auto"
    """Dtype of matrix products in training; `auto`: bf16 where it is faster (AMX, AVX512-BF16), else fp32; chosen when
    planning, by the machine that plans."""
    backend: Literal["auto", "ccl", "gloo"] = "auto"
    """What adds up the gradients of several processes; `auto`: oneCCL (`ccl`) where its binding for torch is installed, else
    gloo; chosen when planning, by the machine that plans."""
    gates: AdapterGates = AdapterGates()
    """What must hold before the adapter is released."""

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: Any) -> Any:
        """Say which split of a data set is meant."""
        if not isinstance(data, dict):
            return data
        splits = {"data": "train", "held_out": "test"}
        return {
            key: {**value, "split": splits[key]}
            if key in splits and isinstance(value, dict) and value.get("source") and "split" not in value
            else value
            for key, value in data.items()
        }

    @property
    def recipe(self) -> Recipe:
        """What decides the bits, beside base and text."""
        return Recipe.model_validate({name: getattr(self, name) for name in Recipe.model_fields})


def refuse_unfit(source: Source, manifest: Manifest) -> None:
    """Refuse adapters that no base of the manifest takes. Raises ManifestError."""
    seen = {name.lower(): f"the target {name}" for name in manifest.targets}
    for name, adapter in manifest.adapters.items():
        key = ("adapters", name)
        if problem := fault(name):
            raise source.error(key, f"{problem}; it becomes part of the release's name")
        if name.lower() in seen:
            raise source.error(key, f"makes a release of the same name as {seen[name.lower()]}; give it another")
        seen[name.lower()] = f"the adapter {name}"
        if manifest.model.task != TASK:
            raise source.error(key, f"is for {TASK}, and the model's task is {manifest.model.task}")
        if manifest.publish.to != ("local",):
            raise source.error(
                key, "names its base by the commit that it has in the local hub; publish: {to: local} alone fits that"
            )
        if problem := _base(manifest, adapter):
            raise source.error((*key, "base"), problem)


def _base(manifest: Manifest, adapter: Adapter) -> str | None:
    target = manifest.targets.get(adapter.base)
    if target is None:
        have = choices(manifest.targets) + nearest(adapter.base, manifest.targets)
        return f"is {adapter.base!r}, and there is no such target{have}"
    if not target.release:
        return f"is {adapter.base}, which this manifest does not release (release: false)"
    trained = [format_.name for format_ in FORMATS.values() if format_.trains]
    other = next((rung.recipe.format for rung in target.rungs if rung.recipe.format not in trained), None)
    if other:
        return (
            f"is {adapter.base}, in format {other}, beside whose packed weights peft trains nothing; allowed: targets in format "
            f"{' or '.join(trained)}, such as the preset nf4"
        )
    return None
