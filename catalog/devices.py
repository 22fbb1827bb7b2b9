"""What devices ask of a recipe beside what its format holds: one row a device that asks for something."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceRules:
    """What the compiler of a device takes of weights in fewer than eight bits."""

    group_sizes: tuple[int, ...]
    """Weights per scale; -1: one scale per output channel."""
    preset: str
    """One that it takes, for refusals to name."""
    asymmetric: bool = False
    """Whether it takes grids with zero points."""
    ratio: tuple[float, ...] = (1.0,)
    """Shares of the weights in the narrower dtype."""


# https://docs.openvino.ai/2026/openvino-workflow-generative/inference-with-genai/inference-with-genai-on-npu.html
DEVICE_RULES: dict[str, DeviceRules] = {"NPU": DeviceRules(group_sizes=(-1, 128), preset="ov-w4-rtn-cw")}
"""By OpenVINO's name of the device; one that is absent takes all that the format holds."""
