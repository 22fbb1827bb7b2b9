"""A compressed-tensors artifact as one GGUF, with tokenizer and chat template inside.

Tokenizer and configuration lie beside it as well: transformers reads the original's from there, and of a GGUF it would make
them up.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import torch
from gguf import (
    GGML_QUANT_SIZES,
    GGML_QUANT_VERSION,
    GGUF_DEFAULT_ALIGNMENT,
    MODEL_ARCH_NAMES,
    GGMLQuantizationType,
    GGUFReader,
    GGUFWriter,
    LlamaFileType,
    get_tensor_name_map,
)
from torch import Tensor
from transformers import PretrainedConfig

from quantizers.artifact.target import Target
from quantizers.errors import QuantizeError
from quantizers.formats.gguf import blocks, keys, vocabulary
from quantizers.formats.gguf.limits import PERMUTED
from quantizers.formats.limits import Facts, refusal
from quantizers.model.checkpoint import Checkpoint, read_config, read_headers
from quantizers.model.companions import copy_companions
from quantizers.model.selection import other_formats
from quantizers.model.skeleton import Skeleton
from quantizers.request import Made

FILE = "model.gguf"
_KEPT = {
    torch.float16: GGMLQuantizationType.F16,
    torch.bfloat16: GGMLQuantizationType.BF16,
    torch.float32: GGMLQuantizationType.F32,
}
"""Matrices that are not quantized, embeddings above all, stay in the type they have."""
_FILE_TYPES = {
    ("int4", True): LlamaFileType.MOSTLY_Q4_0,
    ("int4", False): LlamaFileType.MOSTLY_Q4_1,
    ("int8", True): LlamaFileType.MOSTLY_Q8_0,
}
"""What users are told of the whole file, by the recipe's dtype and symmetry."""


def require(model: Path, skeleton: Skeleton) -> None:
    """Refuse, before any work, a model that llama.cpp does not compute as transformers does, or whose tokenizer it lacks.

    Raises:
        QuantizeError: says so, and which format takes the model.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in skeleton.model.named_parameters()}
    inputs = {name: linear.in_features for name, linear in skeleton.linears.items()}
    if text := refusal("gguf", Facts(model, read_config(model), shapes, inputs, skeleton.task, True)):
        raise QuantizeError(f"{model}: {text}. {other_formats(skeleton)}")


def export(target: Target, made: Made, skeleton: Skeleton, checkpoint: Checkpoint, out: Path) -> Made:
    """Write a finished compressed-tensors artifact, of which `made` tells, as GGUF into `out`, configuration and all.

    Raises:
        AssertionError: llama.cpp has no name for a tensor, or the file is not of the implied size.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    config, recipe = skeleton.model.config, made.recipe
    stored = Checkpoint(target.directory, {}, read_headers(target.directory))
    writer = GGUFWriter(out / FILE, keys.ARCHITECTURES[config.model_type])
    note = keys.add(writer, config)
    writer.add_file_type(_FILE_TYPES[recipe.dtype.partition("_")[0], recipe.symmetric])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    vocabulary.add(writer, checkpoint.directory, config.vocab_size)
    planned = _planned(target, skeleton, stored)
    for tensor in planned:
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.bytes, tensor.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    inexact = 0
    for tensor in planned:
        data, short = tensor.read()
        writer.write_tensor_data(data)
        inexact += short
    writer.close()
    copy_companions(
        checkpoint.directory, out, {k: v for k, v in checkpoint.config.items() if k != "quantization_config"}
    )
    written, expected = _weighed(out / FILE, planned)
    lost = f"{inexact} scales are rounded to float16, by 0.05 % at most" if inexact else None
    notes = (*made.notes, *filter(None, (note, lost)))
    return made.model_copy(update={"expected_bytes": expected, "weights_bytes": written, "notes": notes})


@dataclass(frozen=True)
class _Planned:
    """A tensor of the file, described before the first one is written."""

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    read: Callable[[], tuple[np.ndarray, int]]
    """Its bytes, and how many scales among them are rounded."""

    @property
    def bytes(self) -> int:
        size, width = GGML_QUANT_SIZES[self.type]
        return int(prod(self.shape) // size * width)


def _planned(target: Target, skeleton: Skeleton, stored: Checkpoint) -> list[_Planned]:
    config = skeleton.model.config
    architecture = next(a for a, name in MODEL_ARCH_NAMES.items() if name == keys.ARCHITECTURES[config.model_type])
    names = get_tensor_name_map(architecture, config.num_hidden_layers)
    planned = []
    for tensor in skeleton.source:
        name = names.get_name(tensor, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise AssertionError(f"llama.cpp has no name for {tensor} of a {config.model_type}")
        linear, order = tensor.removesuffix(".weight"), _order(tensor, config)
        if linear in target.linears:
            shape = tuple(stored.whole(f"{linear}.weight_shape").tolist())
            read = partial(_blocks, stored, linear, order)
            planned.append(_Planned(name, shape, blocks.type_of(target.linears[linear]), read))
            continue
        shape, dtype = stored.tensors[tensor].shape, stored.tensors[tensor].dtype
        wide = len(shape) < 2
        raised = 1.0 if config.model_type == "gemma" and tensor.endswith("norm.weight") else 0.0
        read = partial(_kept, stored, tensor, order, wide, raised)
        planned.append(_Planned(name, shape, GGMLQuantizationType.F32 if wide else _KEPT[dtype], read))
    for name, divisors in keys.tensors(config).items():
        planned.append(_Planned(name, divisors.shape, GGMLQuantizationType.F32, partial(_as_it_is, divisors)))
    return planned


def _order(tensor: str, config: PretrainedConfig) -> Tensor | None:
    """Rows of queries and keys, head by head: the pairs that are rotated together side by side, and not half a head apart."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(tensor.split(".")[-2])
    if heads is None or config.model_type not in PERMUTED:
        return None
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return torch.arange(heads * head).view(heads, 2, head // 2).transpose(1, 2).flatten()


def _blocks(stored: Checkpoint, linear: str, order: Tensor | None) -> tuple[np.ndarray, int]:
    read = blocks.read(stored, linear, order)
    return read.data, read.inexact


def _kept(stored: Checkpoint, tensor: str, order: Tensor | None, wide: bool, raised: float) -> tuple[np.ndarray, int]:
    """A tensor as it is; what has one dimension in float32, as llama.cpp wants it, with `raised` added."""
    value = stored.whole(tensor)
    value = value if order is None else value[order]
    value = value.float() + raised if wide else value
    return value.view(torch.uint8).numpy(), 0


def _as_it_is(value: np.ndarray) -> tuple[np.ndarray, int]:
    return value, 0


def _weighed(file: Path, planned: list[_Planned]) -> tuple[int, int]:
    """Bytes of the file, and what the recipe implies: a header, and every tensor from a multiple of 32 on."""
    expected = sum(GGUFWriter.ggml_pad(tensor.bytes, GGUF_DEFAULT_ALIGNMENT) for tensor in planned)
    reader = GGUFReader(file)
    if [tensor.name for tensor in reader.tensors] != [tensor.name for tensor in planned]:
        raise AssertionError(f"{file}: the tensors read back are not the ones the recipe implies")
    return file.stat().st_size, reader.data_offset + expected
