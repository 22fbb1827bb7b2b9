"""What a recipe may say: the vocabulary of every part, and which parts fit together.

Imports no torch: planning reads this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Engine = Literal["streaming", "neural-compressor", "nncf"]
Transform = Literal["awq", "teq"]
Range = Literal["minmax", "mse"]
Rounding = Literal["nearest", "compensated"]
Format = Literal["compressed-tensors", "bitsandbytes", "openvino"]
Dtype = Literal["int2", "int3", "int4", "int8", "int4_fullrange", "int4_clip", "nf4", "fp4_e2m1", "fp4_bnb", "fp4_inc"]

BITS: dict[str, int] = {
    "int2": 2,
    "int3": 3,
    "int4": 4,
    "int4_fullrange": 4,
    "int4_clip": 4,
    "int8": 8,
    "nf4": 4,
    "fp4_e2m1": 4,
    "fp4_bnb": 4,
    "fp4_inc": 4,
}
CODEBOOKS = frozenset({"nf4", "fp4_e2m1", "fp4_bnb", "fp4_inc"})
SYMMETRIC = frozenset({"int4_fullrange", "int4_clip"})
"""Integer grids that name a symmetric form."""

# What each engine can write, and what each format can hold. A pair that is not here is refused before any work.
HOLDS: dict[tuple[str, str], frozenset[str]] = {
    ("streaming", "compressed-tensors"): frozenset({"int2", "int3", "int4", "int8", "int4_fullrange", "int4_clip"}),
    ("streaming", "bitsandbytes"): frozenset({"nf4", "fp4_bnb"}),
    ("streaming", "openvino"): frozenset({"int4", "int8", "int4_fullrange", "int4_clip"}),
    ("neural-compressor", "compressed-tensors"): frozenset({"int2", "int3", "int4", "int8"}),
    ("nncf", "openvino"): frozenset({"int4", "int8"}),
}

# What an engine can do where it cannot do everything. A choice it would ignore must not stand in a record.
LIMITS: dict[str, dict[str, tuple[str | None, ...]]] = {
    "neural-compressor": {"rounding": ("nearest",)},
    "nncf": {"transform": (None,), "range": ("minmax",), "rounding": ("nearest",)},
}


class Recipe(BaseModel):
    """How one target's weights are made. Every field is explicit in a record; nothing is left to a library's default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    engine: Engine = "streaming"
    """Who does the work: ours (streaming), Intel's (neural-compressor) or OpenVINO's (nncf)."""
    format: Format = "compressed-tensors"
    """What the artifact is stored as; decides which stock tool loads it."""
    dtype: Dtype = "int4"
    """What one weight is stored as."""
    symmetric: bool = True
    """Whether the grid is centred on zero; an asymmetric one stores a zero point per group."""
    group_size: int = Field(128, ge=-1, le=65536)
    """Weights along the input dimension that share one scale; -1: one scale per output channel."""
    transform: Transform | None = None
    """Equivalent scaling folded into the network before rounding."""
    range: Range = "minmax"
    """How the scale of a group is chosen."""
    rounding: Rounding = "nearest"
    """How a weight becomes an integer."""
    ratio: float = Field(1.0, gt=0, le=1)
    """Share of the weights stored in `dtype`; the rest, the most sensitive, are stored in int8. Engine nncf only."""
    skip: tuple[str, ...] = ("lm_head",)
    """Linears left as they are: full module names, or patterns with * (fnmatch)."""
    overrides: dict[str, Dtype] = {}
    """Linears stored in another dtype: full module names, or patterns with * (fnmatch), each with its dtype. A full name
    goes before patterns. Engine streaming with format compressed-tensors or openvino only."""
    embeddings: Literal["int8"] | None = None
    """Dtype of the token embeddings and of a head that shares them, asymmetric, one scale per row; null: as they are.
    Engine streaming with format openvino only: no other stock loader reads them. (Engine nncf always stores int8.)"""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def dtypes_of(self, linears: Iterable[str]) -> dict[str, Dtype]:
        """Dtypes of linears, by their full module names."""
        patterns = self.patterns()

        def matched(name: str) -> Dtype:
            return next((dtype for pattern, dtype in patterns if fnmatchcase(name, pattern)), self.dtype)

        return {name: self.overrides[name] if name in self.overrides else matched(name) for name in linears}

    def of(self, linears: Iterable[str]) -> dict[str, Recipe]:
        """The recipe of each linear alone: its own dtype, and no overrides."""
        plain = {dtype: self.model_copy(update={"dtype": dtype, "overrides": {}}) for dtype in self._dtypes()}
        return {name: plain[dtype] for name, dtype in self.dtypes_of(linears).items()}

    def patterns(self) -> list[tuple[str, Dtype]]:
        """The overrides that are no full names. A search names each expert of a mixture, thousands of them."""
        return [(name, dtype) for name, dtype in self.overrides.items() if any(sign in name for sign in "*?[")]

    def _dtypes(self) -> set[Dtype]:
        return {self.dtype, *self.overrides.values()}

    @property
    def bits(self) -> int:
        """Bits one weight is stored in."""
        return BITS[self.dtype]

    @property
    def calibrated(self) -> bool:
        """Whether the recipe reads calibration text."""
        return self.transform is not None or self.rounding == "compensated"

    @field_validator("overrides")
    @classmethod
    def _ordered(cls, overrides: dict[str, Dtype]) -> dict[str, Dtype]:
        # One order for one meaning: keys, records and cards come out equal.
        return dict(sorted(overrides.items()))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        holds = HOLDS.get((self.engine, self.format))
        if holds is None:
            formats = ", ".join(sorted(f for e, f in HOLDS if e == self.engine))
            engines = " or ".join(sorted(e for e, f in HOLDS if f == self.format))
            raise ValueError(
                f"engine {self.engine} does not write format {self.format}; "
                f"it writes {formats}, and {self.format} is written by engine {engines}"
            )
        if self.dtype not in holds:
            raise ValueError(
                f"format {self.format} (engine {self.engine}) cannot hold dtype {self.dtype}; "
                f"it holds {', '.join(sorted(holds))}"
            )
        if self.group_size == 0:
            raise ValueError("group_size is a positive number of weights, or -1 for one scale per output channel")
        if self.dtype in CODEBOOKS and not self.symmetric:
            raise ValueError(
                f"symmetric: false is not for dtype {self.dtype}, a codebook centred on zero that has no asymmetric form"
            )
        if self.dtype in SYMMETRIC and not self.symmetric:
            raise ValueError(f"dtype {self.dtype} names a symmetric grid: leave symmetric as it is, or use int4")
        for field, choices in LIMITS.get(self.engine, {}).items():
            if (chosen := getattr(self, field)) not in choices:
                allowed = ", ".join(choice or "null" for choice in choices)
                raise ValueError(f"{field} {chosen} is not for engine {self.engine}; allowed there: {allowed}")
        if self.engine == "neural-compressor" and self.transform == "teq" and self.range == "mse":
            raise ValueError("range mse is not for transform teq in engine neural-compressor; allowed there: minmax")
        if self.overrides and (self.engine != "streaming" or self.format == "bitsandbytes"):
            raise ValueError("overrides are for engine streaming with format compressed-tensors or openvino")
        for name, dtype in self.overrides.items():
            if dtype not in holds:
                raise ValueError(
                    f"overrides give {name} the dtype {dtype}, which format {self.format} cannot hold; "
                    f"it holds {', '.join(sorted(holds))}"
                )
            if dtype in SYMMETRIC and not self.symmetric:
                raise ValueError(f"overrides give {name} the dtype {dtype}, a symmetric grid, in an asymmetric recipe")
        if self.embeddings and (self.engine, self.format) != ("streaming", "openvino"):
            raise ValueError(
                f"embeddings {self.embeddings} are for engine streaming with format openvino; the loaders of other formats "
                "read none that are quantized, and engine nncf stores them in int8 anyway"
            )
        if self.ratio != 1.0 and (self.engine != "nncf" or self.dtype != "int4"):
            raise ValueError("ratio (a mix of int4 and int8) is for engine nncf and dtype int4")
        if self.engine == "nncf" and self.dtype == "int8" and self.group_size != -1:
            raise ValueError(
                "group_size of int8 in engine nncf is -1, one scale per output channel: give group_size: -1"
            )
        return self
