"""The vocabulary of a family table: which linears share an input, and what can absorb the inverse of their scale.

Imports no torch: a table is data about an architecture, resolved against its config.json.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["norm", "norm_plus_one", "linear", "none"]
"""How an absorber divides its output: `norm` by its weight (and bias), `norm_plus_one` by the weight of a norm that
multiplies by 1 + weight, `linear` by its output rows (and bias); `none` when nothing in the block can."""


@dataclass(frozen=True)
class Rows:
    """Which output row of a linear absorber feeds input channel c of the group's linears.

    Channel c lies in head h = c // width at d = c % width, and is fed by row offset + (h // repeats) * stride + d.
    Heads that share a row (`repeats` > 1: grouped-query attention) must share one scale.
    """

    offset: int
    width: int
    stride: int
    repeats: int = 1

    def of(self, channels: int) -> list[int]:
        """Row of the absorber for each of `channels` input channels."""
        heads = ((channel // self.width, channel % self.width) for channel in range(channels))
        return [self.offset + (head // self.repeats) * self.stride + d for head, d in heads]


@dataclass(frozen=True)
class RowList:
    """Which output row of a linear absorber feeds each input channel of the group's linears, one by one."""

    rows: tuple[int, ...]

    @property
    def repeats(self) -> int:
        """Channels that share a row, at the most."""
        return max(Counter(self.rows).values())

    def of(self, channels: int) -> list[int]:
        """Row of the absorber for each of `channels` input channels."""
        assert channels == len(self.rows)
        return list(self.rows)


@dataclass(frozen=True)
class Group:
    """Linears of one block that read the same input, and what can absorb the inverse of a scale on it.

    All names are relative to the block. A name is a module with a weight (`nn.Linear`, transformers' `Conv1D`, a
    router).
    """

    linears: tuple[str, ...]
    absorber: str | None = None
    kind: Kind = "none"
    rows: Rows | RowList | None = None
    """Kind `linear` only: the absorber's rows that feed the group; None: row c feeds channel c."""
    followers: tuple[str, ...] = ()
    """Further readers of the same input that are scaled along but never quantized: routers and gates."""
    experts: bool = False
    """Whether each linear reads only the tokens that a router sends its module; those of one module read the same."""

    def __post_init__(self) -> None:
        if (self.absorber is None) != (self.kind == "none"):
            raise ValueError(f"group {self.linears}: an absorber and its kind come together")


@dataclass(frozen=True)
class Stack:
    """A list of like blocks that the hidden states pass in order."""

    path: str
    """Module path of the block list, such as `model.layers`."""
    groups: tuple[Group, ...]
    """In the order the block computes them; every linear of a block is in exactly one that the block has whole."""
    final_norm: str | None
    """Module path of the norm after the last block; None when the stack ends without one."""
    carries: tuple[tuple[int, str], ...] = ()
    """Outputs of the first block that all later ones take: place in the output tuple, and keyword. Empty for most."""
    embeddings: tuple[str, ...] = ()
    """Modules with weights that run before this stack alone."""
    hidden: str = "hidden_states"
    """Name of the blocks' argument that takes the hidden states."""


@dataclass(frozen=True)
class Called:
    """A block that the forward of its model calls."""

    groups: tuple[Group, ...]
    """In the order the block computes them; a linear that is not run is in none."""
    times: int = 1
    """How often it is called in one forward."""


@dataclass(frozen=True)
class Family:
    """What quantizing an architecture block by block needs to know of it. Paths are from the top of the model."""

    model_type: str
    stacks: tuple[Stack, ...]
    embeddings: tuple[str, ...]
    """Modules with weights that run before the first block: token and position embeddings, their norms."""
    head: str
    """The output projection, tied to an embedding or not."""
    before_head: tuple[str, ...] = ()
    """Modules with weights between the last final norm and the head."""
    discovered: bool = False
    """Whether this was found by running the model, instead of read from a table. Then it has one stack, whose blocks may each
    be called with arguments of their own, or none but `calls`."""
    calls: Mapping[str, Called] = field(default_factory=dict)
    """Of a model that is no chain of blocks: its blocks by module path, in the order of their last calls."""

    @property
    def blocks(self) -> tuple[str, ...]:
        """Module paths of the block lists, in the order the hidden states pass them."""
        return tuple(stack.path for stack in self.stacks)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Groups of the only stack.

        Raises:
            ValueError: the family has several stacks; ask `stacks`.
        """
        if len(self.stacks) != 1:
            raise ValueError(
                f"family {self.model_type} has {len(self.stacks)} stacks of blocks: ask each for its groups"
            )
        return self.stacks[0].groups


@dataclass(frozen=True)
class Heads:
    """Shape of an attention layer as config.json gives it."""

    heads: int
    kv_heads: int
    head_dim: int

    @classmethod
    def of(cls, config: Mapping[str, Any], head_dim: int | None = None) -> Heads:
        """Read the usual keys. Without `num_key_value_heads` every head has its own; without `head_dim` it is the
        argument (the default of the model's configuration class), or else the hidden size over the heads."""
        heads = int(config["num_attention_heads"])
        kv_heads = int(config.get("num_key_value_heads") or heads)
        head_size = int(config.get("head_dim") or head_dim or config["hidden_size"] // heads)
        return cls(heads, kv_heads, head_size)

    def value_rows(self, offset: int = 0, stride: int | None = None) -> Rows:
        """Rows of the value projection that feed the output projection."""
        return Rows(offset, self.head_dim, stride or self.head_dim, self.heads // self.kv_heads)
