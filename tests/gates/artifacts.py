"""Artifacts made with the formats' own packing, so that the gates are tested without our quantizers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from bitsandbytes.functional import quantize_4bit
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

GROUP, SMALL_GROUP = 64, 32
Tensors = dict[str, torch.Tensor]


def quantize(model: Path, out: Path, weights: Callable[[Tensors], Tensors] = dict) -> Path:
    """Write `model`, its tensors changed by `weights` first, as int4 asymmetric in groups of 64."""
    shutil.copytree(model, out)
    stored: Tensors = {}
    for name, tensor in weights(load_file(model / "model.safetensors")).items():
        if name.endswith("proj.weight"):
            stored |= _packed(name, tensor.float())
        else:
            stored[name] = tensor
    save_file(stored, out / "model.safetensors", metadata={"format": "pt"})
    edit_json(out / "config.json", lambda config: config | {"quantization_config": _configuration()})
    return out


def _packed(name: str, weight: torch.Tensor) -> Tensors:
    runs = weight.reshape(len(weight), -1, GROUP)
    low, high = runs.amin(-1).clamp(max=0), runs.amax(-1).clamp(min=0)
    scale = ((high - low) / 15).to(torch.bfloat16)
    zero = (-8 - (low / scale.float()).round()).clamp(-8, 7).to(torch.int8)
    grid = (runs / scale.float()[..., None]).round() + zero[..., None]
    integers = grid.clamp(-8, 7).to(torch.int8).reshape(weight.shape)
    return {
        f"{name}_packed": pack_to_int32(integers, 4),
        f"{name}_scale": scale,
        f"{name}_zero_point": pack_to_int32(zero, 4, packed_dim=0).contiguous(),
        f"{name}_shape": torch.tensor(weight.shape),
    }


def _configuration() -> dict[str, object]:
    weights = {"num_bits": 4, "type": "int", "symmetric": False, "group_size": GROUP, "strategy": "group"}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }


def edit_json(path: Path, change: Callable[[dict], dict]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def edit_tensors(directory: Path, change: Callable[[Tensors], object]) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(directory / "model.safetensors").items()}
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def pack(model: Path, out: Path, kind: str = "nf4") -> Path:
    """Write a model in bfloat16, its linears packed by bitsandbytes itself in groups that its kernels take of small ones."""
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    loaded.save_pretrained(out)
    head = loaded.get_output_embeddings()
    linears = {
        f"{name}.weight": module.weight.data.T if isinstance(module, Conv1D) else module.weight.data
        for name, module in loaded.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    }
    kept = [name for name, module in loaded.named_modules() if module is head]

    def change(tensors: Tensors) -> None:
        for name in linears.keys() & tensors.keys():
            tensors[name], state = quantize_4bit(linears[name].contiguous(), blocksize=SMALL_GROUP, quant_type=kind)
            tensors.update({f"{name}.{key}": value for key, value in state.as_dict(packed=True).items()})
        assert linears.keys() <= tensors.keys()

    edit_tensors(out, change)
    recipe = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=kept,
    )
    edit_json(
        out / "config.json", lambda config: config | {"quantization_config": json.loads(recipe.to_json_string(False))}
    )
    return out
