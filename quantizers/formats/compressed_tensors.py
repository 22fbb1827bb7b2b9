"""`pack-quantized`: codes packed densely into int32 words, as compressed-tensors, vLLM and transformers read them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from math import ceil
from typing import Any

import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.config import CompressionFormat
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationScheme,
    QuantizationStatus,
    QuantizationStrategy,
)
from torch import Tensor, nn
from transformers import PreTrainedModel

from quantizers.artifact.weights import Slot
from quantizers.dtypes import Codes
from quantizers.errors import QuantizeError, some
from quantizers.model.skeleton import Skeleton
from quantizers.recipe import Recipe

ROWS = 32


def stored(dtype: torch.dtype) -> torch.dtype:
    """Scales have the dtype the layer computes in: the loader casts them to it."""
    return dtype


def slots(rows: int, columns: int, recipe: Recipe, dtype: torch.dtype) -> dict[str, Slot]:
    """weight_packed, weight_scale, weight_shape and, if asymmetric, weight_zero_point (packed along the rows)."""
    groups = 1 if recipe.group_size == -1 else columns // recipe.group_size
    tensors = {
        "weight_packed": Slot(torch.int32, (rows, ceil(columns * recipe.bits / 32))),
        "weight_scale": Slot(dtype, (rows, groups)),
        "weight_shape": Slot(torch.int64, (2,)),
    }
    if not recipe.grid.symmetric:
        tensors["weight_zero_point"] = Slot(torch.int32, (ceil(rows * recipe.bits / 32), groups))
    return tensors


def pack(q: Codes, recipe: Recipe, dtype: torch.dtype) -> dict[str, Tensor]:
    """Pack codes along the inputs and zero points along the outputs."""
    packed = {"weight_packed": pack_words(q.codes, recipe.bits), "weight_scale": q.scale.to(dtype)}
    if q.zero is not None:
        packed["weight_zero_point"] = pack_to_int32(q.zero, recipe.bits, packed_dim=0)
    return packed


def constants(rows: int, columns: int, recipe: Recipe, dtype: torch.dtype) -> dict[str, Tensor]:
    """The shape before packing."""
    return {"weight_shape": torch.tensor([rows, columns])}


def config(recipe: Recipe, linears: Mapping[str, Recipe], dtype: torch.dtype, kept: tuple[str, ...]) -> dict[str, Any]:
    """A scheme for each width that is not the recipe's own, its linears by name; then one for all others but the kept.

    Readers take a module's name before its class, and the first of several that fit.
    """
    named: dict[int, list[str]] = {}
    for name, own in linears.items():
        if own.bits != recipe.bits:
            named.setdefault(own.bits, []).append(name)
    schemes = [_scheme(recipe, bits, names) for bits, names in sorted(named.items())]
    schemes.append(_scheme(recipe, recipe.bits, ["Linear"]))
    whole = QuantizationConfig(
        config_groups={f"group_{number}": scheme for number, scheme in enumerate(schemes)},
        format=CompressionFormat.pack_quantized.value,
        quantization_status=QuantizationStatus.COMPRESSED,
        ignore=list(kept),
    )
    fields: dict[str, Any] = whole.model_dump(mode="json")
    return fields


def _scheme(recipe: Recipe, bits: int, targets: list[str]) -> QuantizationScheme:
    channel = recipe.group_size == -1
    weights = QuantizationArgs(
        num_bits=bits,
        symmetric=recipe.symmetric,
        strategy=QuantizationStrategy.CHANNEL if channel else QuantizationStrategy.GROUP,
        group_size=None if channel else recipe.group_size,
    )
    return QuantizationScheme(targets=targets, weights=weights)


def pack_words(codes: Tensor, bits: int) -> Tensor:
    """int32 words of int8 codes `[out, in]`, the same bits as compressed-tensors' `pack_to_int32`.

    Widths that divide a byte are packed bytewise: the library's general packing takes 40 ns a weight, this 1 ns.
    """
    per_byte, left = divmod(8, bits)
    if left or codes.shape[1] % (32 // bits):
        words: Tensor = pack_to_int32(codes, bits)
        return words
    lanes = (codes + (1 << (bits - 1))).view(torch.uint8).reshape(len(codes), -1, per_byte)
    packed = lanes[..., 0].clone()
    for lane in range(1, per_byte):
        packed |= lanes[..., lane] << (lane * bits)
    return packed.view(torch.int32)


def stays(model: PreTrainedModel, names: tuple[str, ...]) -> frozenset[str]:
    """None: what cannot be read back is refused."""
    return frozenset()


def refuse(skeleton: Skeleton, names: tuple[str, ...]) -> None:
    """Refuse linears that transformers cannot read back.

    Raises:
        QuantizeError: the module that holds them is initialized by their weights, or they are stored transposed.
    """
    if lost := _unreadable(skeleton.model, names):
        plain = type(skeleton.model.get_submodule(lost[0])) is nn.Linear
        other = "bitsandbytes with dtype nf4 or fp4_bnb" if plain else "openvino"
        raise QuantizeError(
            f"transformers cannot load {some(lost)} of a {skeleton.model.config.model_type} from "
            "format compressed-tensors: it initializes the modules that hold them by weights that are not there. "
            f"Use format {other}, or add these layers to skip."
        )
    if conv := tuple(name for name in names if skeleton.linears[name].transposed):
        raise QuantizeError(
            f"{some(conv)} are Conv1D modules, which format compressed-tensors cannot hold. "
            "Use format openvino, or format bitsandbytes with dtype nf4 or fp4_bnb."
        )


def _unreadable(model: PreTrainedModel, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` without whose `weight` transformers cannot initialize them, or the module that holds them.

    It initializes every module after the weights have been taken from the linears. Most
    families look at a linear by itself, and ask whether it has a weight; some (SigLIP) do not ask, and some (T5) reach for the
    weights of the linears they hold.
    """
    fails: dict[tuple[type, type, str], bool] = {}
    unreadable = []
    for name in names:
        path, _, last = name.rpartition(".")
        owner, parent = _initializer(model, path), model.get_submodule(path)
        kind = (type(owner), type(parent), last)
        if kind not in fails:
            fails[kind] = not _initializes(owner, parent, last)
        if fails[kind]:
            unreadable.append(name)
    return tuple(unreadable)


def _initializer(model: PreTrainedModel, path: str) -> PreTrainedModel:
    """The innermost model around a module, which initializes it."""
    parts = path.split(".")
    around = (model.get_submodule(".".join(parts[:count])) for count in range(len(parts), 0, -1))
    return next((module for module in around if isinstance(module, PreTrainedModel)), model)


def _initializes(model: PreTrainedModel, parent: nn.Module, linear: str) -> bool:
    bare = copy.copy(parent.get_submodule(linear))
    bare._parameters = {name: value for name, value in bare._parameters.items() if name != "weight"}
    twin = copy.copy(parent)
    twin._modules = {**parent._modules, linear: bare}
    try:
        model._init_weights(bare)
        model._init_weights(twin)
    except AttributeError:
        return False
    return True
