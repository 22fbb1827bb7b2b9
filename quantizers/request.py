"""What the door takes: one model, any number of targets, at most one calibration set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from catalog.dtypes import DtypeName
from catalog.libraries import making, versions
from catalog.tasks import TASKS, TaskName
from quantizers.families.found import Found
from quantizers.hardware.compute_dtype import ComputeDtype
from quantizers.recipe import Recipe

STATISTICS = ".statistics"
"""Below OUT_DIR: what an engine collected over the calibration rows, for later runs over the same model and text."""


class Calibration(BaseModel):
    """What calibrated recipes read. Documents are concatenated into `samples` rows of `tokens` tokens; rows may name files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    documents: Path
    """JSON Lines, one object per document with the key `text`, or per row with those of the task (`Task.reads`)."""
    samples: int = Field(128, ge=1)
    """Rows at the most."""
    tokens: int = Field(512, ge=2)
    """Tokens per row; of what is said of a file, at the most."""
    seed: int = 0
    """Which rows are drawn when the documents hold more than `samples` rows."""
    device: Literal["cpu", "cuda", "xpu"] = "cpu"
    """Where blocks run over the text. Scales are searched and weights rounded on the CPU."""
    compute: ComputeDtype = "float32"
    """Dtype of the blocks' matrix products. Second moments are summed in float32."""


class Request(BaseModel):
    """One run of `python -m quantizers REQUEST.json OUT_DIR`.

    Writes `OUT_DIR/<target>/` for every target, each a complete directory that a stock loader reads (config,
    generation config, tokenizer, chat template, weights), and `OUT_DIR/result.json` last.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    """Directory with config.json, safetensors and tokenizer files."""
    task: TaskName = "text-generation"
    """What the model is asked to do: the class it is built as, and what is exported."""
    targets: dict[str, Recipe] = Field(min_length=1)
    calibration: Calibration | None = None
    memory_bytes: int | None = Field(None, ge=1)
    """Budget for activations kept in memory; beyond it they spill to disk below OUT_DIR."""
    statistics: Path | None = None
    """Directory that an earlier run left as `OUT_DIR/.statistics`, over the same model and text; None: such a run is this one,
    if a recipe shares them (`Recipe.shares_statistics`)."""


class SensitivityRequest(BaseModel):
    """The other thing the door takes: what would it cost to store each linear of a model in this dtype or in that?

    Writes `OUT_DIR/result.json`, an `SensitivityResult`, and no weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    """Directory with config.json, safetensors and tokenizer files."""
    task: TaskName = "text-generation"
    """What the model is asked to do: the class it is built as, and what is exported."""
    recipe: Recipe
    """How linears are rounded; each dtype of `dtypes` stands in for its own."""
    dtypes: tuple[DtypeName, ...] = Field(min_length=2)
    """What a linear may be stored in."""
    calibration: Calibration
    """Text the divergence is measured on, and, by a recipe that is calibrated, rounded with."""
    memory_bytes: int | None = Field(None, ge=1)
    """Budget for hidden states kept in memory; beyond it they spill to disk below OUT_DIR."""


class GroupCost(BaseModel):
    """Linears that share an input, and what each dtype does to the model when they alone are stored in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    linears: tuple[str, ...]
    """Full module names."""
    bytes: dict[str, int]
    """By dtype: size of their tensors."""
    kld: dict[str, float]
    """By dtype: mean KL divergence from the original, nats per token."""


class SensitivityResult(BaseModel):
    """`OUT_DIR/result.json` of a `SensitivityRequest`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    choices: tuple[GroupCost, ...]
    """In the model's order."""
    fixed: tuple[str, ...]
    """Linears that the recipe quantizes and that are in no block: they keep the recipe's dtype."""
    rest_bytes: int
    """All else in the weight files: the other tensors, and at most 256 bytes of header for every tensor."""
    probe_tokens: int
    """Tokens the divergence was measured on."""
    tools: dict[str, str]
    """Versions of every library that had a hand in the figures."""
    compute: str


class Statistics(BaseModel):
    """`OUT_DIR/.statistics/result.json`: what was collected over the calibration rows; beside it, the files of the engine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    graph: str
    """Fingerprint of the graph that was run: its nodes, their types, names and shapes."""
    rows: int
    """Rows that were read."""


class Made(BaseModel):
    """What became of one target."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Recipe
    expected_bytes: int
    """Size of the weights that the recipe implies, in bytes, from the shapes alone."""
    weights_bytes: int
    """Size of the weights written, in bytes."""
    quantized: int
    """Linears quantized."""
    kept: int
    """Tensors left as they were."""
    notes: tuple[str, ...] = ()
    """What a reader of the record must know: fallbacks, clamped scales, searched parameters."""
    found: Found | None = None
    """What a calibrated recipe went by, of a model that has no table."""


class Result(BaseModel):
    """`OUT_DIR/result.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: dict[str, Made]
    tools: dict[str, str]
    """Versions of every library that had a hand in the bits."""
    compute: str
    """Compute dtype and instruction set used, such as `float32, AVX512`."""


def tools(request: Request | SensitivityRequest) -> dict[str, str]:
    """Installed version of every library that has a hand in the bits of a request."""
    recipes = request.targets.values() if isinstance(request, Request) else (request.recipe,)
    reads = request.calibration is not None and TASKS[request.task].reads
    task = request.task if reads else None
    return versions(tuple({name for recipe in recipes for name in making(recipe.engine, recipe.format, task)}))
