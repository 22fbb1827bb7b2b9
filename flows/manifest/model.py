"""What a loaded manifest is: frozen, every default filled in, every preset expanded to an explicit recipe.

The parts a user writes as they are (`Model`, `Calibration`, `Evaluation`, `Publish`) are also the parts of the input
form (`flows.manifest.form`). Imports no torch: planning reads this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic.config import JsonDict

from catalog.destinations import DESTINATIONS, checked, kind_of
from catalog.dtypes import DTYPES, DtypeName
from catalog.runtime import RuntimeOptions
from catalog.tasks import TASKS, TaskName
from flows.manifest.adapters import Adapter
from flows.manifest.texts import Part, Rows, as_tuple, filled
from gates.judging.fraction import Fraction
from gates.spec import Gates
from quantizers.recipe import Recipe

_ADDRESS = {
    "description": "; ".join(f"`{kind.form}`: {kind.title}" for kind in DESTINATIONS.values()),
    "anyOf": [
        {"enum": [kind.name for kind in DESTINATIONS.values() if not kind.path]},
        *({"type": "string", "pattern": f"^{kind.name}:."} for kind in DESTINATIONS.values() if kind.path),
    ],
}
Address = Annotated[str, AfterValidator(checked), WithJsonSchema(_ADDRESS)]

Judge = Literal["stock", "streamed"]


def _computed(schema: JsonDict) -> None:
    """Leave a default out of the JSON Schema that is computed from another field."""
    del schema["default"]


class Model(Part):
    """The original: a model of the Hugging Face Hub, or a directory."""

    source: str = Field(min_length=1)
    """Hub id such as `microsoft/Phi-3-mini-4k-instruct`, or a directory relative to the manifest (`./model`)."""
    revision: str = Field("main", min_length=1)
    """Branch, tag or commit of a Hub id; planning resolves it to a commit."""
    task: TaskName = "text-generation"
    """What the model does; decides the stock loader and the evidence."""
    name: str = Field("", json_schema_extra=_computed)
    """Name of its releases, `{namespace}/{name}-{target}`. Default: the last part of the source."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("source"), str) and "name" not in data:
            return {**data, "name": data["source"].rstrip("/").rsplit("/", 1)[-1]}
        return data


class Calibration(Rows):
    """What calibrated recipes read: `samples` rows of `tokens` tokens of text each, or rows that name files, by the task."""

    samples: int = Field(128, ge=1, le=65536)
    """Rows at the most; 128 is what AWQ and GPTQ are published with."""
    tokens: int = Field(512, ge=2, le=1 << 20)
    """Tokens per row; of what is said of a file, at the most."""
    seed: int = Field(0, ge=0, lt=1 << 32)
    """Which rows are drawn when there are more than `samples`."""
    device: Literal["cpu", "cuda", "xpu"] = "cpu"
    """Where the model's blocks run over the text, one at a time."""
    compute: Literal["auto", "float32", "bfloat16"] = "auto"
    """Dtype of their matrix products; `auto`: bfloat16 where it is faster (AMX, AVX512-BF16, cuda, xpu), else float32;
    chosen when planning, by the machine that plans."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        return filled(data, "train")

    @property
    def reading(self) -> dict[str, Any]:
        """How the text is read, whichever it is."""
        return self.model_dump(mode="json", exclude=set(Rows.model_fields))


class Evaluation(Rows):
    """Held-out text that the artifact is compared with the original on; must not overlap the calibration text."""

    tokens: int = Field(512, ge=2, le=1 << 20)
    """Tokens of a document that are scored, at the most."""
    documents: int | None = Field(None, ge=1)
    """Documents scored, at the most. Default: all."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        return filled(data, "test")


class Publish(Part):
    """Where a release goes once every gate has passed."""

    to: Annotated[
        tuple[Address, ...],
        BeforeValidator(as_tuple, json_schema_input_type=Address | list[Address]),
        Field(min_length=1),
    ] = ("local",)
    """A destination, or a list."""
    namespace: str = "local"
    """User or organization of the release, `{namespace}/{model}-{target}`."""
    private: bool = True
    """Visibility of the repository on the Hub; one that has another is refused."""

    @model_validator(mode="after")
    def _owned(self) -> Self:
        for kind in map(kind_of, self.to):
            if kind.token and self.namespace == "local":
                raise ValueError(
                    f"to names {kind.title}, where the default namespace `local` is not yours: give namespace"
                )
        if len(set(self.to)) != len(self.to):
            raise ValueError("to names the same place twice")
        return self


class Rung(Part):
    """One recipe of a target, with the name it goes by in records and reports."""

    name: str
    """The preset's name, or the recipe's parts (`flows.manifest.presets.name_of`)."""
    recipe: Recipe
    """Explicit: every field has its value."""


class Auto(Part):
    """A search for a mix of dtypes: the smallest within a divergence, or the least diverging within a size or share."""

    max_kld: float | None = Field(None, gt=0)
    """Budget of quality, nats per token: the smallest mix that passes the gates with this divergence."""
    max_ratio: Fraction | None = Field(None, gt=0, le=1)
    """Budget of size, bytes of weights over the original's: the mix of least divergence that fits."""
    share: Fraction | None = Field(None, gt=0, lt=1)
    """Budget of size, share of the linears' weights that are in the narrower of two dtypes, at the least: the mix of least
    divergence. A target's `ratio` stands for it, with its own dtype and int8."""
    dtypes: Annotated[tuple[DtypeName, ...], BeforeValidator(as_tuple, json_schema_input_type=list[DtypeName])] = (
        "int4",
        "int8",
    )
    """Integer dtypes to choose from, for each group of linears that share an input."""

    @model_validator(mode="after")
    def _decided(self) -> Self:
        if sum(budget is not None for budget in (self.max_kld, self.max_ratio, self.share)) != 1:
            raise ValueError(
                "one budget decides: give either max_kld (quality), max_ratio (size) or share (of weights)"
            )
        if self.share is not None and len(self.dtypes) > 2:
            raise ValueError("share is of the weights in the narrower of two dtypes; give two")
        widths = [DTYPES[dtype].bits for dtype in self.dtypes]
        if len(widths) < 2 or len(set(widths)) != len(widths):
            raise ValueError("dtypes holds two dtypes or more, no two of one width, such as [int4, int8]")
        return self


class Search(Part):
    """What a target with `auto` searches for, and from where."""

    auto: Auto
    base: Recipe
    """The recipe that is varied in dtype alone."""


class Target(Part):
    """What one release of the model must be."""

    name: str
    """Key below `targets:`; the last part of the release's name."""
    runtime: RuntimeOptions = RuntimeOptions()
    """What the artifact is judged with; `flows.planning.runtime` says what `compute: auto` stands for."""
    rungs: tuple[Rung, ...] = Field(min_length=1)
    """Recipes in the order they are tried; the first that passes is released. One, unless the target is a ladder.
    Of a search: its base, until `flows.planning.mixed_precision` knows better."""
    search: Search | None = None
    release: bool = True
    """Whether an artifact that passes is released; if not, it is made, gated and reported."""
    draft: str | None = None
    """What guesses tokens for it in speculative decoding: another target, or a release in the local hub, `namespace/name`."""


class Manifest(Part):
    """One manifest, loaded: what it says, what it leaves to defaults, and where its local sources are."""

    path: Path
    """The manifest, absolute."""
    model: Model
    directory: Path | None
    """Absolute directory of a local model; None: `model.source` is a Hub id."""
    calibration: Calibration
    evaluation: Evaluation
    targets: dict[str, Target] = Field(min_length=1)
    """By name, in the order written."""
    adapters: dict[str, Adapter]
    """By name, in the order written."""
    gates: Gates
    publish: Publish
    memory_bytes: int | None
    """Budget of every step, bytes; None: what the machine has."""
    judge: Judge
    """Who runs an artifact that its stock loader unpacks whole."""

    @property
    def columns(self) -> dict[str, str]:
        """The keys of rows of evaluation, by the task's names for what they hold, its first column first."""
        first, *others = TASKS[self.model.task].columns
        named = self.evaluation.columns
        read = [each.name for each in others if not each.named or each.name in named]
        return {first.name: self.evaluation.column, **{name: named.get(name, name) for name in read}}

    @property
    def calibrated(self) -> dict[str, str]:
        """The keys of rows of calibration, likewise: `text` alone where text is read, under whatever key."""
        first, *others = TASKS[self.model.task].calibration
        named, read = self.calibration.columns, self.calibration.column
        if not first.is_file:
            return {"text": read}
        return {first.name: read, **{each.name: named.get(each.name, each.name) for each in others}}

    @property
    def made(self) -> list[tuple[str, str]]:
        """All that releases are made of: where each is written, and its name."""
        return [("targets", name) for name in self.targets] + [("adapters", name) for name in self.adapters]

    def release(self, target: str) -> str:
        """Name of the release of `target`, or of an adapter: `{namespace}/{model}-{target}`."""
        return f"{self.publish.namespace}/{self.model.name}-{target}"
