"""What `runtime.compute: auto` stands for on this machine, told from its CPU's instruction set."""

from __future__ import annotations

from catalog.formats import FORMATS
from catalog.runtime import RuntimeOptions
from flows.manifest.computes import multiplying
from quantizers.hardware.compute_dtype import cpu_flags, fastest
from quantizers.recipe import Recipe

INT8 = frozenset({"amx_int8", "avx512_vnni", "avx_vnni"})
"""Flags of a CPU that multiplies int8 faster than floating-point numbers."""


def resolved(runtime: RuntimeOptions, recipe: Recipe) -> RuntimeOptions:
    """Return options in which no dtype is `auto`: the first of its format's that the CPU has instructions for."""
    if runtime.compute != "auto":
        return runtime
    fast = {"int8": bool(INT8 & cpu_flags()), "bf16": fastest("cpu") == "bfloat16", "fp32": True}
    return runtime.model_copy(
        update={"compute": next(dtype for dtype in multiplying(FORMATS[recipe.format], recipe) if fast[dtype])}
    )
