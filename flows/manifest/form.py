"""The manifest as its author writes it; `flows.manifest.load` turns it into a `Manifest`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field

from flows.manifest.adapters import Adapter
from flows.manifest.model import Calibration, Evaluation, Judge, Model, Publish
from gates.spec import Gates


def _with_unit(value: Any) -> Any:
    """Let through what pydantic may read as a size: a bare number says nothing of its unit."""
    if not isinstance(value, str) or not value[-1:].isalpha():
        raise ValueError("is not a size; allowed: a number and its unit, such as 4GB or 3.5GiB")
    return value


Bytes = Annotated[ByteSize, BeforeValidator(_with_unit, json_schema_input_type=str), Field(ge=1)]


class Form(BaseModel):
    """A quantmill manifest: one model, the targets it is milled for, and what each must prove before it is released."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: Model
    """The original."""
    targets: dict[str, Any] = Field(min_length=1)
    """What to make of it, by name: a preset, a recipe, or a ladder of them."""
    adapters: dict[str, Adapter] = {}
    """Low-rank updates to train on releases of these targets, by name."""
    calibration: Calibration = Calibration()
    """Text that calibrated recipes (awq, teq, compensated) read."""
    evaluation: Evaluation = Evaluation()
    """Held-out text the gates compare on."""
    gates: Gates = Gates()
    """What must hold before a release."""
    publish: Publish = Publish()
    """Where releases go."""
    memory: Bytes | None = None
    """Budget of every step, such as 4GB. Default: what the machine has."""
    judge: Judge = "stock"
    """How artifacts of compressed-tensors, bitsandbytes and OpenVINO are run: whole, by their stock loaders, or a block at a
    time, with the stock loader asked what the first blocks say."""
