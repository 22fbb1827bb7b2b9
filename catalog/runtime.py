"""How a release is run: what a target asks for, the gate runs it with, and its card tells."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from catalog.format import Format
from catalog.formats import Device

Compute = Literal["auto", "fp32", "bf16", "int8"]
Property = str | int | bool


class RuntimeOptions(BaseModel):
    """What is asked of the client that runs a release; what is not said here is the client's own default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Device = "CPU"
    compute: Compute | None = None
    """Dtype of matrix products; `auto`, which planning resolves, the fastest by the CPU's instruction set."""
    ov_config: dict[str, Property] = {}
    """Properties of OpenVINO by name, such as `PERFORMANCE_HINT`."""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def said(self) -> dict[str, Any]:
        """What differs from the defaults, for keys and records."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def arguments(self, format_: Format) -> dict[str, Any]:
        """Keyword arguments of the stock class's `from_pretrained`, besides the device."""
        chosen = dict(format_.computes[self.compute]) if self.compute else {}
        properties = {**chosen.get("ov_config", {}), **self.ov_config}
        return {**chosen, "ov_config": properties} if properties else chosen
