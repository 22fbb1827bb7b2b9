"""What this machine computes with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from catalog.errors import EnvironmentFault
from quantizers.hardware.compute_dtype import BFLOAT16, cpu_flags
from quantizers.request import Request, SensitivityRequest


def device(name: str) -> torch.device:
    """The torch device of that name: cpu, cuda or xpu.

    Raises:
        EnvironmentFault: torch finds none here.
    """
    present = {"cpu": lambda: True, "cuda": torch.cuda.is_available, "xpu": torch.xpu.is_available}
    if not present[name]():
        raise EnvironmentFault(
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
            instructions = next((name for name, flag in BFLOAT16.items() if flag in cpu_flags()), instructions)
        return f"{str(self.dtype).removeprefix('torch.')}, {instructions}"

    def moved(self, tensor: Tensor) -> Tensor:
        """The tensor where blocks run."""
        return tensor.to(self.device)

    def autocast(self) -> torch.autocast:
        """The context blocks run in."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def compute(request: Request | SensitivityRequest) -> Compute:
    """How blocks run for a request: as it says, and on the CPU in float32 where no text is read.

    Raises:
        EnvironmentFault: torch finds no such device here.
    """
    if request.calibration is None:
        return Compute(torch.device("cpu"), torch.float32)
    return Compute(device(request.calibration.device), getattr(torch, request.calibration.compute))
