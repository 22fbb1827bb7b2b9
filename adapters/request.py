"""What the door takes: `train` makes an adapter of a base and text; `merge` makes one model of a base and its adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from adapters.backends import Backend
from adapters.recipe import ComputeDtype, Recipe

LIBRARIES = ("accelerate", "bitsandbytes", "numpy", "peft", "safetensors", "tokenizers", "torch", "transformers")
"""Distributions that decide an adapter's bits."""


class Base(BaseModel):
    """The release that is trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    directory: Path
    """Where its files are: what `AutoModelForCausalLM` loads, tokenizer included."""
    name: str
    """What the adapter's configuration names it, such as `acme/phi-3-mini-nf4`."""
    revision: str
    """Its commit, which the configuration names, too."""


class TrainRequest(BaseModel):
    """Train; write `OUT_DIR/adapter/`, which stock peft loads, and `OUT_DIR/result.json` last.

    A run that was killed goes on from its last checkpoint below `OUT_DIR/.work` when it is given the same directory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: Literal["train"] = "train"
    base: Base
    documents: Path
    """JSON Lines, one object per document with the key `text`. Documents are joined and cut into rows."""
    recipe: Recipe
    compute: ComputeDtype = "float32"
    """Dtype of matrix products; the updates and their optimizer are float32."""
    backend: Backend = "gloo"
    """What adds up gradients, where the recipe asks for several processes."""


class MergeRequest(BaseModel):
    """Unpack the base, add the updates to its weights, write `OUT_DIR/merged/`: a model in bfloat16 like any other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: Literal["merge"] = "merge"
    base: Path
    """Directory of the adapter's base."""
    adapter: Path


class Trained(BaseModel):
    """`OUT_DIR/result.json` of a `TrainRequest`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    losses: tuple[float, ...]
    """Mean negative log-likelihood of a step's tokens before the step, nats per token."""
    rows: int
    """Rows that the text makes."""
    parameters: int
    """Numbers that were trained."""
    modules: tuple[str, ...]
    """Linears that have an update, by the ends of their names."""
    tools: dict[str, str]
    """Versions of every library that had a hand in the bits."""
    compute: str
    """Dtype of products, such as `bfloat16`."""


class Merged(BaseModel):
    """`OUT_DIR/result.json` of a `MergeRequest`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    linears: int
    """Linears that an update was added to."""


REQUEST: TypeAdapter[TrainRequest | MergeRequest] = TypeAdapter(
    Annotated[TrainRequest | MergeRequest, Field(discriminator="step")]
)
