"""Which quantized linears the stock loader reads back: transformers' own rules, asked of the model itself."""

from __future__ import annotations

import copy

from torch import nn
from transformers import PreTrainedModel
from transformers.quantizers.quantizers_utils import should_convert_module

from quantizers.families import routers
from quantizers.families.experts import stacked

_CASTS = {"switch_transformers": ["wo"]}
"""Linears whose input their family casts to the dtype of their weight: packed in bytes, that of bitsandbytes is uint8."""


def never_quantized(model: PreTrainedModel, names: tuple[str, ...], format: str) -> frozenset[str]:
    """Those of `names` that stay as they are in any artifact of this format.

    Routers, whose choice of experts is no place to save a byte; experts that transformers stacks, for it loads quantized
    linears alone; for bitsandbytes, the modules that transformers keeps in float32 where the rest is float16 (T5's
    `wo`), which it never replaces by quantized ones.
    """
    found = routers(model.config.to_dict()).intersection(n.rpartition(".")[2] for n in names)
    stay = {name for name in names if name.rpartition(".")[2] in found}
    if format != "openvino":
        stay |= stacked(model)
    if format == "bitsandbytes":
        wide = sorted(model._keep_in_fp32_modules or ()) + _CASTS.get(model.config.model_type, [])
        stay |= {name for name in names if not should_convert_module(name, wide)}
    return frozenset(stay)


def unreadable(model: PreTrainedModel, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` without whose `weight` transformers cannot initialize the module that holds them.

    Loading compressed-tensors, it initializes every module after the weights have been taken from the linears. Most
    families look at a linear by itself; some (T5) reach for the weights of the linears they hold, and fail.
    """
    fails: dict[tuple[type, str], bool] = {}
    found = []
    for name in names:
        path, _, last = name.rpartition(".")
        parent = model.get_submodule(path)
        kind = (type(parent), last)
        if kind not in fails:
            fails[kind] = not _initializes(model, parent, last)
        if fails[kind]:
            found.append(name)
    return tuple(found)


def _initializes(model: PreTrainedModel, parent: nn.Module, linear: str) -> bool:
    twin = copy.copy(parent)
    twin._modules = {**parent._modules, linear: nn.Module()}
    try:
        model._init_weights(twin)
    except AttributeError:
        return False
    return True
