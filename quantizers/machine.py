"""What this machine computes with, and which libraries had a hand in the bits."""

from __future__ import annotations

import ctypes
from importlib.metadata import version

import torch

from quantizers.errors import QuantizeError


def device(name: str) -> torch.device:
    """The torch device of that name.

    Raises:
        QuantizeError: torch does not know it, or finds none here.
    """
    kind = name.split(":")[0].lower()
    present = {"cpu": lambda: True, "cuda": torch.cuda.is_available, "xpu": torch.xpu.is_available}
    if kind not in present:
        raise QuantizeError(f"device {name}: quantizing runs on cpu, cuda or xpu; ask for one of these.")
    if not present[kind]():
        raise QuantizeError(
            f"device {name}: this torch ({torch.__version__}) finds no {kind} device on this machine. "
            f"Ask for device cpu, or install a torch that was built for {kind}."
        )
    return torch.device(name.lower())


def compute(where: torch.device) -> str:
    """Compute dtype and instruction set, such as `float32, AVX512`; recorded with every result.

    float32 also where the instruction set has bfloat16 products but no matrix tiles: without AMX a bfloat16
    product is slower here than a float32 one, and second moments summed in bfloat16 are not positive definite.
    """
    instructions = torch.backends.cpu.get_cpu_capability() if where.type == "cpu" else where.type
    return f"float32, {instructions}"


def tools(*libraries: str) -> dict[str, str]:
    """Installed versions of `libraries`, by name."""
    return {library: version(library) for library in sorted(libraries)}


MAPPED = 4 << 20
"""Bytes from which an allocation is a mapping of its own."""


def return_freed_memory() -> None:
    """Have glibc give the memory of a freed tensor back to the system at once; no other C library is touched.

    Its threshold otherwise grows with the tensors that were freed, and what lies below it stays resident: a fifth
    of the peak when blocks of a billion-parameter model come and go.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3
        for option in (mmap_threshold, trim_threshold):
            mallopt(option, MAPPED)
