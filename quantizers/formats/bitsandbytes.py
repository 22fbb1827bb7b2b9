"""nf4 and fp4 as bitsandbytes stores them: two codes a byte, one float32 magnitude per block, the state as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from bitsandbytes.functional import QuantState, get_4bit_type
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.quantizers_utils import should_convert_module

from quantizers.artifact.weights import Slot
from quantizers.dtypes import Codes
from quantizers.errors import QuantizeError, some
from quantizers.model.skeleton import Skeleton, linear_shape
from quantizers.recipe import Recipe

ROWS = 1
_LANES = 32
"""Outputs that its kernel on the CPU computes at a time."""
_KINDS = {"nf4": "nf4", "fp4_bnb": "fp4"}
_READ = {
    "longt5": ["wo"],
    "switch_transformers": ["wo"],
    "nllb-moe": ["fc2"],
    "rwkv": ["attention.output", "feed_forward.value"],
}
"""Linears whose weights their family itself reads: it casts their input to the weight's dtype, which is uint8 once it is packed,
or, RWKV's, packs them anew with blocks of 64."""

_TRANSPOSED = {
    "convbert": ["conv_kernel_layer"],
    "falcon_mamba": ["x_proj", "out_proj"],
    "jamba": ["x_proj", "out_proj"],
    "mamba": ["x_proj", "out_proj"],
    "recurrent_gemma": ["linear_out"],
    "zamba": ["out_proj"],
}
"""Linears that their family gives a transposed view: where the CPU has products of bfloat16, bitsandbytes 0.50 reads it as if its
rows were contiguous."""


def stored(dtype: torch.dtype) -> torch.dtype:
    """Magnitudes are float32 whatever the layer computes in."""
    return torch.float32


def slots(rows: int, columns: int, recipe: Recipe, dtype: torch.dtype) -> dict[str, Slot]:
    """weight, its absmax, the codebook and the packed state."""
    tensors = {
        "weight": Slot(torch.uint8, (rows * columns // 2, 1)),
        "weight.absmax": Slot(torch.float32, (rows * columns // recipe.group_size,)),
    }
    return tensors | {k: Slot(t.dtype, tuple(t.shape)) for k, t in constants(rows, columns, recipe, dtype).items()}


def pack(q: Codes, recipe: Recipe, dtype: torch.dtype) -> dict[str, Tensor]:
    """Pack rows: the first of two codes in the high half of the byte."""
    code = get_4bit_type(_KINDS[recipe.dtype], device="cpu")
    values = torch.tensor(recipe.grid.values)
    order = torch.stack([(code - value).abs().argmin() for value in values]).to(torch.uint8)
    nibbles = order[q.codes.flatten().int()].view(-1, 2)
    return {"weight": (nibbles[:, :1] << 4) | nibbles[:, 1:], "weight.absmax": q.scale.flatten()}


def constants(rows: int, columns: int, recipe: Recipe, dtype: torch.dtype) -> dict[str, Tensor]:
    """Codebook and state as bitsandbytes itself writes them."""
    kind = _KINDS[recipe.dtype]
    state = QuantState(
        absmax=torch.zeros(0),
        shape=torch.Size((rows, columns)),
        code=get_4bit_type(kind, device="cpu"),
        blocksize=recipe.group_size,
        quant_type=kind,
        dtype=dtype,
    )
    return {f"weight.{key}": tensor for key, tensor in state.as_dict(packed=True).items() if key != "absmax"}


def config(recipe: Recipe, linears: Mapping[str, Recipe], dtype: torch.dtype, kept: tuple[str, ...]) -> dict[str, Any]:
    """What transformers' BitsAndBytesConfig reads; every value that decides the bits is explicit."""
    return {
        "quant_method": "bitsandbytes",
        "load_in_4bit": True,
        "load_in_8bit": False,
        "bnb_4bit_quant_type": _KINDS[recipe.dtype],
        "bnb_4bit_use_double_quant": False,
        "bnb_4bit_compute_dtype": str(dtype).removeprefix("torch."),
        "bnb_4bit_quant_storage": "uint8",
        # transformers reads these as regular expressions that need not match to the end.
        "llm_int8_skip_modules": [f"{re.escape(name)}$" for name in kept],
    }


def stays(model: PreTrainedModel, names: tuple[str, ...]) -> frozenset[str]:
    """What transformers keeps in float32 where the rest is float16 (T5's `wo`), and never replaces by quantized linears; what
    would be read wrongly; and those of too few outputs for bitsandbytes' kernels on the CPU."""
    own = [name for table in (_READ, _TRANSPOSED) for name in table.get(model.config.model_type, [])]
    wide = sorted(model._keep_in_fp32_modules or ()) + own
    kept = {name for name in names if not should_convert_module(name, wide)}
    return frozenset(kept | {name for name in names if _outputs(model, name) % _LANES})


def _outputs(model: PreTrainedModel, name: str) -> int:
    shape = linear_shape(model.get_submodule(name))
    return shape[0] if shape else 0


def refuse(skeleton: Skeleton, names: tuple[str, ...]) -> None:
    """Refuse linears that transformers does not replace by those of bitsandbytes.

    Raises:
        QuantizeError: they are of a class of their own.
    """
    if own := tuple(name for name in names if type(skeleton.model.get_submodule(name)) not in (nn.Linear, Conv1D)):
        kind = type(skeleton.model.get_submodule(own[0])).__name__
        raise QuantizeError(
            f"{some(own)} of a {skeleton.model.config.model_type} are {kind}, a class of its own that transformers replaces by "
            "no quantized linears. Use format openvino, or add these layers to skip."
        )
