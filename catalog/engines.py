"""Who makes an artifact: one row an engine, with what it can do where it cannot do everything.

Which formats it writes is said by the formats (`catalog.formats`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from catalog.dtypes import DTYPES


@dataclass(frozen=True)
class Engine:
    """One engine. A choice that it would ignore must not stand in a record, so recipes are held against this row."""

    name: str
    entry_point: str
    """`module:function`, imported when asked for: each brings libraries of several hundred megabytes."""
    libraries: tuple[str, ...]
    """Distributions that have a hand in the bits besides torch's and the format's; their versions are in keys."""
    dtypes: tuple[str, ...] = tuple(DTYPES)
    choices: Mapping[str, tuple[str | tuple[str, ...] | None, ...]] = field(default_factory=dict)
    """What it takes of a recipe's field; a field that is absent here it takes whatever it says."""
    plain_only: tuple[str, ...] = ()
    """Dtypes that it does nothing to but round."""
    group_sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Group sizes it makes a dtype with; any, of a dtype that is absent here."""
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Choices of a recipe's field that read calibration text in this engine, besides those that always do."""
    families: bool = True
    """Whether a calibrated recipe needs to know the architecture's blocks."""
    streams: bool = False
    """Whether it makes any number of recipes in one pass over the model, each linear in a dtype of its own."""
    activations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By dtype of weights: what it stores activations as, by ranges it finds; none, of a dtype that is absent here."""
    rangeless: tuple[str, ...] = ()
    """Transforms that choose no range."""
    interpreter: str | None = None
    """What it runs under (`catalog.interpreters`); None: our own."""
    ratio: tuple[str, ...] = ()
    """Dtypes of which it stores a share of the weights, the rest in int8."""
    corrects: tuple[str, ...] | None = None
    """Dtypes whose error low-rank adapters may take back; None: it takes no `nncf` beside a recipe at all."""
    statistics: bool = False
    """Whether its calibrated recipes go by the same statistics of activations, which it collects once and reads again."""
    prefix: str | None = None
    """How names of its recipes begin, where the format's do not begin otherwise."""
    word: str | None = None
    """What names say before what is done to the weights, where the format's own engine does it by the same words."""
    plain: str | None = "rtn"
    """What names say where a recipe does nothing but round."""


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine("streaming", "quantizers.engines.streaming:stream", ("numba",), streams=True),
        Engine(
            "neural-compressor",
            "quantizers.engines.neural_compressor:compress",
            ("neural_compressor_pt",),
            dtypes=("int2", "int3", "int4", "int8"),
            choices={"rounding": ("nearest",)},
            rangeless=("teq",),
            prefix="inc",
        ),
        Engine(
            "nncf",
            "quantizers.engines.nncf:export",
            ("nncf",),
            dtypes=("int2", "int3", "int4", "int8", "nf4", "fp4", "nvfp4", "mxfp4"),
            # AWQ, scale estimation and GPTQ, by the names that these have in other engines.
            choices={"transform": (None, "awq")},
            plain_only=("int8", "fp4", "nvfp4", "mxfp4"),
            group_sizes={"int8": (-1,), "nvfp4": (16,), "mxfp4": (32,)},
            reads={"range": ("mse",)},
            families=False,
            activations={"int8": ("int8",)},
            ratio=("int2", "int3", "int4", "nf4", "fp4", "nvfp4"),
            corrects=("int4", "nf4"),
            statistics=True,
            word="nncf",
            plain=None,
        ),
        Engine(
            "itrex",
            "quantizers.engines.itrex:compress",
            ("itrex",),
            dtypes=("int4", "int8", "int4_fullrange", "int4_clip", "nf4"),
            # Its loader takes every linear for quantized but the head.
            choices={"rounding": ("nearest",), "skip": (("lm_head",),)},
            plain_only=("nf4", "int4_fullrange"),
            families=False,
            rangeless=("teq",),
            interpreter="itrex",
            prefix="itrex",
        ),
    )
}

if TYPE_CHECKING:
    EngineName = str
else:
    EngineName = Literal[tuple(ENGINES)]
