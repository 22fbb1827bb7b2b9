"""How an adapter is trained: low-rank updates of linears (Hu et al. 2021, LoRA) of a 4-bit base (Dettmers et al. 2023, QLoRA).

Imports no torch: planning reads this module.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

ComputeDtype = Literal["float32", "bfloat16"]


def _as_tuple(value: Any) -> Any:
    """Read one name as a list of one; a tuple, which strict validation accepts where a list is refused."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


class Recipe(BaseModel):
    """What decides an adapter's bits, beside its base and its text."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    rank: int = Field(16, ge=1)
    """Rank of each update."""
    alpha: int = Field(32, ge=1)
    """Updates are scaled by alpha / rank."""
    target_modules: Annotated[tuple[str, ...], BeforeValidator(_as_tuple, json_schema_input_type=str | list[str])] = ()
    """Linears that get one, by the end of their names, such as `q_proj`. Default: all of every block."""
    steps: int = Field(100, ge=1)
    """Steps of the optimizer."""
    batch: int = Field(8, ge=1)
    """Rows of a step, over all processes."""
    micro_batch: int = Field(1, ge=1)
    """Rows that one process holds at a time; gradients are summed until a step has all of its rows."""
    tokens: int = Field(512, ge=2)
    """Tokens per row."""
    learning_rate: float = Field(2e-4, gt=0)
    """Of AdamW, after a warm-up over a tenth of the steps; it then falls to zero in a line."""
    seed: int = Field(0, ge=0, lt=1 << 32)
    """Of the first values of the updates, and of the order of the rows."""
    processes: int = Field(1, ge=1)
    """Processes that share a step's rows, on this machine; each has its part of the cores."""

    @model_validator(mode="after")
    def _divided(self) -> Self:
        held = self.micro_batch * self.processes
        if self.batch % held:
            raise ValueError(
                f"batch {self.batch} is no multiple of the {held} rows that processes hold at a time (micro_batch × processes)"
            )
        return self

    @property
    def accumulation(self) -> int:
        """Times that each process runs before a step."""
        return self.batch // (self.micro_batch * self.processes)
