"""Modules that transformers replaces when it loads quantized weights: Llama 4's experts, which become an MLP each.

A model has them here as they will be loaded, and the checkpoint's stacks are read as the matrices that these want.
"""

from __future__ import annotations

from accelerate import init_empty_weights
from transformers import PreTrainedModel
from transformers.quantizers.base import MODULES_TO_PATCH_FOR_QUANTIZATION

from quantizers.errors import QuantizeError
from quantizers.families.experts import STACKS, stacks
from quantizers.model.checkpoint import Checkpoint

MATRICES = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
"""Of Llama 4: stack `[experts, in, out]` → the linears of an expert that lie in it side by side."""


def replace(model: PreTrainedModel, checkpoint: Checkpoint) -> None:
    """Put what transformers will in the place of such modules; in place, in the checkpoint as well.

    Raises:
        QuantizeError: a module is replaced whose weights are no such stacks, or there are stacks in the place of what is loaded
            matrix by matrix.
    """
    whole = [key for key in checkpoint.tensors if key.endswith(STACKS)]
    if whole and any(stacks(model)):
        raise QuantizeError(
            f"{checkpoint.directory}: tensor {whole[0]} holds the experts of a block in one. Save the model with "
            "transformers' save_pretrained, which writes a matrix for each expert."
        )
    for path, module in list(model.named_modules()):
        row = MODULES_TO_PATCH_FOR_QUANTIZATION.get(type(module).__name__)
        if row is None:
            continue
        if dict(module.named_parameters()).keys() != MATRICES.keys():
            raise QuantizeError(
                f"{path} of a {model.config.model_type} is a {type(module).__name__}, which transformers replaces by a module of "
                "other weights when it loads a quantized model. No recipe stores these yet: name another model."
            )
        experts = len(module.get_parameter("down_proj"))
        with init_empty_weights(include_buffers=False):
            model.set_submodule(path, row["module_name"](model.config.get_text_config()))
        for name, matrices in MATRICES.items():
            key = next((key for key in checkpoint.tensors if f".{key}".endswith(f".{path}.{name}")), None)
            key = key or next((key for key in checkpoint.tensors if f".{path}.{name}".endswith(f".{key}")), None)
            if key is not None:
                before = key.removesuffix(name)
                checkpoint.unstack(key, [[f"{before}{n}.{each}.weight" for each in matrices] for n in range(experts)])
