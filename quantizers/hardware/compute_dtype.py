"""What a CPU multiplies fastest in, told from its instruction set. Imports no torch: planning reads this module."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

ComputeDtype = Literal["float32", "bfloat16"]

BFLOAT16 = {"AMX": "amx_bf16", "AVX512-BF16": "avx512_bf16"}
"""Instructions that multiply bfloat16, the fastest first, and the CPU's flag for each."""


@cache
def cpu_flags() -> frozenset[str]:
    """Flags of this machine's CPU as Linux names them, such as `avx512_bf16`; none on ARM or another system."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").partition(":")[2].split())


def fastest(device: str) -> ComputeDtype:
    """Dtype whose matrix products are fastest on a device of this machine: what `compute: auto` stands for.

    That is bfloat16 on accelerators and on CPUs with AMX or AVX512-BF16, float32 elsewhere. CPUs with AVX512-FP16
    (Sapphire Rapids and later) were built for AMX: where it is hidden from a virtual machine, their AVX512-BF16 reaches
    a little more than half the rate of float32 (oneDNN, 162 against 279 GFLOP/s on two cores), and does not count.
    """
    flags = cpu_flags()
    fast = "amx_bf16" in flags or ("avx512_bf16" in flags and "avx512_fp16" not in flags)
    return "bfloat16" if device != "cpu" or fast else "float32"
