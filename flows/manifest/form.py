"""The manifest as its author writes it; `flows.manifest.load` turns it into a `Manifest`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from flows.manifest.model import Calibration, Evaluation, Model, Publish
from gates.spec import Gates

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]i?|)B", re.ASCII)


def _bytes(value: Any) -> Any:
    """Read `4GB` or `3.5 GiB` as bytes."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is not a size; allowed: a number and its unit, such as 4GB or 3.5GiB")
    return int(float(match[1]) * _UNITS[match[2]])


Bytes = Annotated[int, BeforeValidator(_bytes, json_schema_input_type=str), Field(ge=1)]


class Form(BaseModel):
    """A quantmill manifest: one model, the targets it is milled for, and what each must prove before it is released."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Model
    """The original."""
    targets: dict[str, Any] = Field(min_length=1)
    """What to make of it, by name: a preset, a recipe, or a ladder of them."""
    calibration: Calibration = Calibration()
    """Text that calibrated recipes (awq, teq, compensated) read."""
    evaluation: Evaluation = Evaluation()
    """Held-out text the gates compare on."""
    gates: Gates = Gates()
    """What must hold before a release."""
    publish: Publish = Publish()
    """Where releases go."""
    memory: Bytes | None = None
    """Budget of a quantizing step, such as 4GB. Default: what the machine has."""
