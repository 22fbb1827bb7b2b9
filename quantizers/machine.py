"""What this machine computes with, and which libraries had a hand in the bits."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor

from quantizers.errors import QuantizeError
from quantizers.request import Request, SensitivityRequest


def device(name: str) -> torch.device:
    """The torch device of that name: cpu, cuda or xpu.

    Raises:
        QuantizeError: torch finds none here.
    """
    present = {"cpu": lambda: True, "cuda": torch.cuda.is_available, "xpu": torch.xpu.is_available}
    if not present[name]():
        raise QuantizeError(
            f"calibration.device {name}: this torch ({torch.__version__}) finds no {name} device on this machine. "
            f"Ask for device cpu, or install a torch that was built for {name}."
        )
    return torch.device(name)


@dataclass(frozen=True)
class Compute:
    """Where blocks run, and the dtype their products are taken in; all sums are float32."""

    device: torch.device
    dtype: torch.dtype

    def __str__(self) -> str:
        """Dtype and instruction set or device, such as `float32, AVX512`; recorded with every result."""
        kind = self.device.type
        instructions = torch.backends.cpu.get_cpu_capability() if kind == "cpu" else kind
        if kind == "cpu" and self.dtype == torch.bfloat16:
            instructions = next((name for name, flag in _BFLOAT16.items() if _cpu(flag)), instructions)
        return f"{str(self.dtype).removeprefix('torch.')}, {instructions}"

    def moved(self, tensor: Tensor) -> Tensor:
        """The tensor where blocks run."""
        return tensor.to(self.device)

    def autocast(self) -> torch.autocast:
        """The context blocks run in."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


_BFLOAT16 = {"AMX": "amx_bf16", "AVX512-BF16": "avx512_bf16"}


def _cpu(flag: str) -> bool:
    return bool(torch.cpu.get_capabilities().get(flag, False))


def _fast_bfloat16() -> bool:
    return _cpu("amx_bf16") or (_cpu("avx512_bf16") and not _cpu("avx512_fp16"))


def compute(request: Request | SensitivityRequest) -> Compute:
    """How blocks run for a request; `auto` is what is fastest on its device, float32 where no text is read.

    Fastest is bfloat16 on accelerators and on CPUs with AMX or AVX512-BF16, float32 elsewhere. CPUs with AVX512-FP16 (Sapphire
    Rapids and later) were built for AMX: where it is hidden from a virtual machine, their AVX512-BF16 reaches a little
    more than half the rate of float32 (oneDNN, 162 against 279 GFLOP/s on two cores), and does not count.

    Raises:
        QuantizeError: torch finds no such device here.
    """
    if request.calibration is None:
        return Compute(torch.device("cpu"), torch.float32)
    where, wanted = device(request.calibration.device), request.calibration.compute
    if wanted == "auto":
        wanted = "bfloat16" if where.type != "cpu" or _fast_bfloat16() else "float32"
    return Compute(where, getattr(torch, wanted))


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
