"""What a recipe may say: the vocabulary of every part, and which parts fit together.

Imports no torch: planning reads this module.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from catalog.dtypes import DTYPES, DtypeName, Grid
from catalog.engines import ENGINES, EngineName
from catalog.formats import FORMATS, FormatName
from quantizers.engines.nncf_options import NncfOptions

Transform = Literal["awq", "teq"]
Range = Literal["minmax", "mse"]
Rounding = Literal["nearest", "compensated"]


class Recipe(BaseModel):
    """How one target's weights are made. Every field is explicit in a record; nothing is left to a library's default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    engine: EngineName = "streaming"
    """Who does the work: ours (streaming), Intel's (neural-compressor), OpenVINO's (nncf), or Intel's archived stack (itrex)."""
    format: FormatName = "compressed-tensors"
    """What the artifact is stored as; decides which stock tool loads it."""
    dtype: DtypeName = "int4"
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
    """Share of the weights stored in `dtype`; the rest, the most sensitive, are stored in int8. In a recipe of engine nncf;
    of a target with engine streaming it is a search by our own sensitivities, whose recipe has overrides."""
    skip: tuple[str, ...] = ("lm_head",)
    """Linears left as they are: full module names, or patterns with * (fnmatch)."""
    overrides: dict[str, DtypeName] = {}
    """Linears stored in another dtype: full module names, or patterns with * (fnmatch), each with its dtype. A full name
    goes before patterns. Engine streaming with format compressed-tensors, gguf or openvino only."""
    activations: Literal["int8"] | None = None
    """What weights are multiplied with, in int8 by ranges found over the calibration rows (static quantization); null: as the
    runtime computes. Engine nncf with dtype int8 only, and for models that write no text: encoders."""
    embeddings: Literal["int8"] | None = None
    """Dtype of the token embeddings and of the head, asymmetric, one scale per row, where `skip` leaves it; null: as they
    are. Engine streaming with format openvino only: no other stock loader reads them. (Engine nncf always stores int8.)"""

    nncf: NncfOptions | None = None
    """What NNCF's weight compression offers beside all this. Engine nncf only."""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def dtypes_of(self, linears: Iterable[str]) -> dict[str, DtypeName]:
        """Dtypes of linears, by their full module names."""
        patterns = self.patterns()

        def matched(name: str) -> DtypeName:
            return next((dtype for pattern, dtype in patterns if fnmatchcase(name, pattern)), self.dtype)

        return {name: self.overrides[name] if name in self.overrides else matched(name) for name in linears}

    def of(self, linears: Iterable[str]) -> dict[str, Recipe]:
        """The recipe of each linear alone: its own dtype, and no overrides."""
        plain = {dtype: self.model_copy(update={"dtype": dtype, "overrides": {}}) for dtype in self._dtypes()}
        return {name: plain[dtype] for name, dtype in self.dtypes_of(linears).items()}

    def patterns(self) -> list[tuple[str, DtypeName]]:
        """The overrides that are no full names. A search names each expert of a mixture, thousands of them."""
        return [(name, dtype) for name, dtype in self.overrides.items() if any(sign in name for sign in "*?[")]

    def _dtypes(self) -> set[DtypeName]:
        return {self.dtype, *self.overrides.values()}

    @property
    def bits(self) -> int:
        """Bits one weight is stored in."""
        return DTYPES[self.dtype].bits

    @property
    def grid(self) -> Grid:
        """The grid that weights are stored on."""
        return DTYPES[self.dtype].grid(self.symmetric)

    @property
    def calibrated(self) -> bool:
        """Whether the recipe reads calibration text."""
        reads = ENGINES[self.engine].reads
        own = any(getattr(self, field) in choices for field, choices in reads.items())
        own = own or (self.nncf is not None and self.nncf.reads)
        return own or self.transform is not None or self.rounding == "compensated" or self.activations is not None

    @property
    def shares_statistics(self) -> bool:
        """Whether it goes by statistics of activations that are the same for all such recipes of a model and a text."""
        return ENGINES[self.engine].statistics and self.calibrated and self.activations is None

    @field_validator("overrides")
    @classmethod
    def _ordered(cls, overrides: dict[str, DtypeName]) -> dict[str, DtypeName]:
        # One order for one meaning: keys, records and cards come out equal.
        return dict(sorted(overrides.items()))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self._held()
        self._able()
        self._optioned()
        self._per_linear()
        return self

    def _held(self) -> None:
        """Hold dtype, grid and group size against the format."""
        format_, engine, dtype = FORMATS[self.format], ENGINES[self.engine], DTYPES[self.dtype]
        holds = format_.holds(self.engine)
        if not holds:
            formats = ", ".join(sorted(other.name for other in FORMATS.values() if self.engine in other.engines))
            raise ValueError(
                f"engine {self.engine} does not write format {self.format}; "
                f"it writes {formats}, and {self.format} is written by engine {' or '.join(sorted(format_.engines))}"
            )
        if self.dtype not in holds:
            raise ValueError(
                f"format {self.format} (engine {self.engine}) cannot hold dtype {self.dtype}; "
                f"it holds {', '.join(sorted(holds))}"
            )
        if self.group_size == 0:
            raise ValueError("group_size is a positive number of weights, or -1 for one scale per output channel")
        if not self.symmetric and dtype.codebook:
            raise ValueError(
                f"symmetric: false is not for dtype {self.dtype}, a codebook centred on zero that has no asymmetric form"
            )
        if not self.symmetric and dtype.asymmetric is None:
            raise ValueError(f"dtype {self.dtype} names a symmetric grid: leave symmetric as it is, or use int4")
        if not self.symmetric and self.dtype in format_.symmetric:
            raise ValueError(
                f"symmetric: false is not for dtype {self.dtype} in format {self.format}: no zero point there"
            )
        if format_.group_sizes and self.group_size not in format_.group_sizes:
            sizes = ", ".join(map(str, format_.group_sizes))
            raise ValueError(f"group_size {self.group_size} is not for format {self.format}, which holds {sizes}")
        able = engine.group_sizes.get(self.dtype, (self.group_size,))
        if self.group_size not in able:
            raise ValueError(
                f"group_size of {self.dtype} in engine {self.engine} is {able[0]}"
                f"{', one scale per output channel' * (able[0] == -1)}: give group_size: {able[0]}"
            )

    def _able(self) -> None:
        """Hold what is done to the weights against the engine."""
        engine = ENGINES[self.engine]
        for field, choices in engine.choices.items():
            if (chosen := getattr(self, field)) not in choices:
                allowed = ", ".join(map(_word, choices))
                raise ValueError(f"{field} {_word(chosen)} is not for engine {self.engine}; allowed there: {allowed}")
        if self.dtype in engine.plain_only and (self.transform, self.range, self.rounding) != (
            None,
            "minmax",
            "nearest",
        ):
            raise ValueError(
                f"dtype {self.dtype} is rounded to nearest and nothing else in engine {self.engine}: leave transform, range and "
                "rounding out, or use engine streaming"
            )
        if self.transform in engine.rangeless and self.range != "minmax":
            transform = f"transform {self.transform} in engine {self.engine}"
            raise ValueError(f"range {self.range} is not for {transform}; allowed there: minmax")
        if self.activations and self.activations not in engine.activations.get(self.dtype, ()):
            able = [f"engine {name} and dtype {each}" for name, other in ENGINES.items() for each in other.activations]
            raise ValueError(f"activations {self.activations} are for {', or '.join(able)}")
        if self.activations and not self.symmetric:
            raise ValueError(
                "symmetric: false is not for weights whose activations are in int8: leave symmetric as it is"
            )
        if self.ratio != 1.0 and self.dtype not in engine.ratio:
            able = [f"engine {name} and dtype {_either(other.ratio)}" for name, other in ENGINES.items() if other.ratio]
            raise ValueError(
                f"ratio (a mix with int8) is for {', or '.join(able)}, or for a target of engine streaming"
            )

    def _optioned(self) -> None:
        """Hold NNCF's own choices against the rest."""
        options, corrects = self.nncf, ENGINES[self.engine].corrects
        if options is None:
            return
        if corrects is None:
            able = _either(name for name, other in ENGINES.items() if other.corrects is not None)
            raise ValueError(f"nncf holds choices of engine {able}, and this is engine {self.engine}")
        if self.dtype == "int8":
            raise ValueError("nncf has no choices for dtype int8, which NNCF rounds to nearest, one scale per channel")
        if options.lora_rank and self.dtype not in corrects:
            raise ValueError(f"nncf.lora_rank is for dtype {_either(corrects)}, and this is {self.dtype}")
        if options.lora_rank and self.rounding == "compensated":
            raise ValueError("nncf.lora_rank is not for rounding compensated: NNCF corrects by one of them")
        if options.sensitivity and self.ratio == 1.0:
            raise ValueError(
                "nncf.sensitivity ranks linears for ratio, which leaves none in another precision; give ratio"
            )
        if options.fallback == "adjust" and len(ENGINES[self.engine].group_sizes.get(self.dtype, ())) == 1:
            raise ValueError(
                f"nncf.fallback adjust is not for dtype {self.dtype}, which has one group size; allowed: ignore"
            )

    def _per_linear(self) -> None:
        """Hold what is said of single modules against both."""
        format_, streams = FORMATS[self.format], ENGINES[self.engine].streams
        if self.overrides and not (streams and format_.mixes):
            raise ValueError(f"overrides are for engine streaming with format {_either(mixing())}")
        for name, dtype in self.overrides.items():
            if dtype not in (holds := format_.holds(self.engine)):
                raise ValueError(
                    f"overrides give {name} the dtype {dtype}, which format {self.format} cannot hold; "
                    f"it holds {', '.join(sorted(holds))}"
                )
            if not self.symmetric and DTYPES[dtype].asymmetric is None:
                raise ValueError(f"overrides give {name} the dtype {dtype}, a symmetric grid, in an asymmetric recipe")
            if not self.symmetric and dtype in format_.symmetric:
                raise ValueError(
                    f"overrides give {name} the dtype {dtype}, which format {self.format} holds symmetric alone, in an "
                    "asymmetric recipe"
                )
        if self.embeddings and not (streams and self.embeddings in format_.embeddings):
            able = _either(other.name for other in FORMATS.values() if self.embeddings in other.embeddings)
            raise ValueError(
                f"embeddings {self.embeddings} are for engine streaming with format {able}; the loaders of other formats "
                "read none that are quantized, and engine nncf stores them in int8 anyway"
            )


def _word(choice: object) -> str:
    return "null" if choice is None else json.dumps(choice) if isinstance(choice, tuple) else str(choice)


def mixing() -> tuple[str, ...]:
    """Formats in which each linear may have a dtype of its own."""
    return tuple(format_.name for format_ in FORMATS.values() if format_.mixes)


def _either(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
