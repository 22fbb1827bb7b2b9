"""Models to compare on: the demo model, a copy of it with planted outliers, and random shapes of real sizes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from quantizers.families import family_of
from quantizers.transforms.fold import fold, in_features

DEMO = Path(__file__).parents[1] / "manifests" / "demo"
MODEL = DEMO / "model"

LLAMA_1B = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
"""TinyLlama's shape: 1.1 billion parameters, 2.2 GB in bfloat16."""
LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
LLAMA_70B = LLAMA_8B | {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
}
"""One block is 1.7 GB in bfloat16, and so are embeddings and head, 2.1 GB each."""

OUTLIERS = 12
"""Channels of each norm, of the demo model's 256."""
FACTORS = (16.0, 32.0)
"""Powers of two, so that bfloat16 weights take them without rounding and the copy computes the very same function."""


def plant_outliers(source: Path, into: Path, seed: int = 0) -> None:
    """A copy whose norms put out a few channels 16 or 32 times as large, and whose linears undo it."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    family = family_of(model.config.to_dict())
    generator = torch.Generator().manual_seed(seed)
    for block in model.get_submodule(family.blocks[0]):
        for group in family.groups:
            if group.kind != "norm":
                continue
            channels = in_features(block, group)
            chosen = torch.randperm(channels, generator=generator)[:OUTLIERS]
            scale = torch.ones(channels)
            picked = torch.randint(len(FACTORS), (OUTLIERS,), generator=generator)
            scale[chosen] = 1 / torch.tensor(FACTORS)[picked]
            fold(block, group, scale)
    model.save_pretrained(into)
    copy_tokenizer(into)


def copy_tokenizer(into: Path) -> None:
    """The demo model's tokenizer, for models that have none of their own."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(MODEL / name, into / name)


def write_random(into: Path, shape: dict[str, Any], **changes: Any) -> int:
    """A Llama of random bfloat16 weights, one block a shard, so that no more than a block is in memory; its bytes.

    Random weights measure cost, not quality.
    """
    into.mkdir(parents=True, exist_ok=True)
    config = LlamaConfig(**{**shape, **changes}, dtype="bfloat16", architectures=["LlamaForCausalLM"])
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    config.save_pretrained(into)
    copy_tokenizer(into)
    generator = torch.Generator().manual_seed(0)
    where: dict[str, str] = {}
    total = 0
    for number, names in enumerate(_shards(model), 1):
        file = f"model-{number:05}.safetensors"
        tensors = {name: _random(model.state_dict()[name].shape, name, generator) for name in names}
        save_file(tensors, into / file, metadata={"format": "pt"})
        where |= dict.fromkeys(names, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (into / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    return total


def _shards(model: LlamaForCausalLM) -> Iterator[list[str]]:
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    names = [name for name in model.state_dict() if name not in tied]
    yield [name for name in names if not name.startswith("model.layers.")]
    for layer in range(model.config.num_hidden_layers):
        yield [name for name in names if name.startswith(f"model.layers.{layer}.")]


def _random(shape: torch.Size, name: str, generator: torch.Generator) -> torch.Tensor:
    if name.endswith("norm.weight"):
        return torch.empty(shape, dtype=torch.bfloat16).uniform_(0.5, 1.5, generator=generator)
    return torch.empty(shape, dtype=torch.bfloat16).normal_(0.0, 0.02, generator=generator)
