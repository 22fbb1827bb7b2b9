"""What vLLM reads packed of compressed-tensors, by the rules of its source, as data: it does not run on every machine.

`CompressedTensorsWNA16` and the Marlin kernels that it chooses: vllm/model_executor/layers/quantization/compressed_tensors/.
"""

from __future__ import annotations

BITS = (4, 8)
"""Of a weight."""
GROUP_SIZES = (-1, 32, 64, 128)
"""Weights per scale; -1: one scale per output channel."""
ZERO_POINTS = "0.8.5"
"""The version from which it reads asymmetric grids (vllm-project/vllm, pull request 14211)."""


def refusal(bits: int, group_size: int) -> str | None:
    """Why vLLM does not read such weights, or None."""
    if bits not in BITS:
        return f"vLLM reads {' and '.join(map(str, BITS))} bits, not {bits}"
    if group_size not in GROUP_SIZES:
        sizes = ", ".join(map(str, GROUP_SIZES[1:]))
        return f"vLLM reads a scale per channel or per {sizes} weights, not per {group_size}"
    return None


def since(symmetric: bool) -> str | None:
    """The version from which vLLM reads such a grid; None: any that reads compressed-tensors."""
    return None if symmetric else ZERO_POINTS
