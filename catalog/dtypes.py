"""What one weight is stored as: one object a dtype, the grids it has, and the name that manifests call it by.

Imports no torch: planning reads this module. The arithmetic on grids is in `quantizers.dtypes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class Grid:
    """The codes one weight may take.

    An integer grid holds `low … high`, stored signed; a codebook holds the indices of `values`, ascending.
    A weight is `(code - zero) * scale`, or `values[code] * scale`.
    """

    name: str
    bits: int
    symmetric: bool
    low: int
    high: int
    peak: float
    """The code, or codebook value, that the largest magnitude of a group falls on (symmetric grids)."""
    flips: bool = False
    """Whether the scale is negative where the largest magnitude is positive, so that it meets `low` exactly."""
    values: tuple[float, ...] | None = None

    @property
    def levels(self) -> int:
        """Steps between the lowest and the highest code."""
        return self.high - self.low


@dataclass(frozen=True)
class Dtype:
    """One dtype, with its symmetric grid and, for most integers, an asymmetric one."""

    name: str
    bits: int
    """Bits one weight is stored in."""
    label: str
    """What names of recipes call it, such as `w4`."""
    symmetric: Grid
    asymmetric: Grid | None = None
    """None: the dtype names a symmetric form, or a codebook centred on zero, and has no zero point."""
    scale_bits: int | None = None
    """Bits of a scale, where that is part of the dtype; None: the format says."""

    @property
    def codebook(self) -> bool:
        """Whether its codes are indices of values, and no integers."""
        return self.symmetric.values is not None

    def grid(self, symmetric: bool = True) -> Grid:
        """The grid of a recipe.

        Raises:
            ValueError: it has no asymmetric one.
        """
        if symmetric:
            return self.symmetric
        if self.asymmetric is None:
            raise ValueError(f"dtype {self.name} has no asymmetric grid")
        return self.asymmetric


def _integer(bits: int) -> Dtype:
    name, low, high = f"int{bits}", -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    symmetric, asymmetric = (Grid(name, bits, centred, low, high, high) for centred in (True, False))
    return Dtype(name, bits, f"w{bits}", symmetric, asymmetric)


def _codebook(name: str, label: str, values: tuple[float, ...], scale_bits: int | None = None) -> Dtype:
    grid = Grid(name, 4, True, 0, len(values) - 1, values[-1], values=values)
    return Dtype(name, 4, label, grid, scale_bits=scale_bits)


# QLoRA, arXiv:2305.14314, appendix E.
_NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
# bitsandbytes `get_4bit_type("fp4")`, in twelfths.
_FP4 = tuple(m / 12 for m in (-12.0, -8.0, -6.0, -4.0, -3.0, -2.0, -0.0625, 0.0, 0.0625, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0))
# E2M1 of the OCP Microscaling Formats, whose scale is a power of two in eight bits (E8M0), one for 32 weights.
_E2M1 = (-6.0, -4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)

DTYPES: dict[str, Dtype] = {
    dtype.name: dtype
    for dtype in (
        *map(_integer, (2, 3, 4, 8)),
        # neural-compressor's `full_range`: the largest magnitude of a group falls on -8.
        Dtype("int4_fullrange", 4, "w4-fullrange", Grid("int4_fullrange", 4, True, -8, 7, 8, flips=True)),
        Dtype("int4_clip", 4, "w4-clip", Grid("int4_clip", 4, True, -7, 7, 7)),
        _codebook("nf4", "nf4", _NF4),
        _codebook("fp4_bnb", "fp4", _FP4),
        # NNCF's, of the same numbers: a scale in 16 bits, or one in E4M3 for 16 weights and another for the whole tensor.
        _codebook("fp4", "e2m1", _E2M1),
        _codebook("nvfp4", "nvfp4", _E2M1, scale_bits=8),
        _codebook("mxfp4", "mxfp4", _E2M1, scale_bits=8),
    )
}
"""By name. `catalog.formats` says which format holds which; one that none holds has no place here."""

# What a field of a pydantic model is annotated with: mypy cannot follow a Literal that is made from a table.
if TYPE_CHECKING:
    DtypeName = str
else:
    DtypeName = Literal[tuple(DTYPES)]
