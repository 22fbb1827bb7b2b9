"""What vLLM reads packed of compressed-tensors, by the rules of its source, as data: it does not run on every machine.

`CompressedTensorsWNA16` and the Marlin kernels that it chooses: vllm/model_executor/layers/quantization/compressed_tensors/.
"""

from __future__ import annotations

from collections.abc import Collection

BITS = (4, 8)
"""Of a weight."""
GROUP_SIZES = (-1, 32, 64, 128)
"""Weights per scale; -1: one scale per output channel."""
ZERO_POINTS = "0.8.5"
"""The version from which it reads asymmetric grids (vllm-project/vllm, pull request 14211)."""


STACKS = (".experts.gate_up_proj", ".experts.down_proj")
"""How names of tensors end that are all experts of a block in one, as transformers 5 has them; vLLM looks for each by itself."""


def refusal(bits: int, group_size: int, tensors: Collection[str] = ()) -> str | None:
    """Why vLLM does not read such weights, or None; `tensors` are the names of an artifact's, where there is one."""
    if bits not in BITS:
        return f"vLLM reads {' and '.join(map(str, BITS))} bits, not {bits}"
    if group_size not in GROUP_SIZES:
        sizes = ", ".join(map(str, GROUP_SIZES[1:]))
        return f"vLLM reads a scale per channel or per {sizes} weights, not per {group_size}"
    if stack := next((name for name in sorted(tensors) if name.endswith(STACKS)), None):
        return f"vLLM looks for experts one by one, and {stack} is all of a block"
    return None


def since(symmetric: bool) -> str | None:
    """The version from which vLLM reads such a grid; None: any that reads compressed-tensors."""
    return None if symmetric else ZERO_POINTS
