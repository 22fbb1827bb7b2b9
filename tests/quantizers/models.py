import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from quantizers.recipe import Recipe
from quantizers.request import Request

DEMO = Path(__file__).parents[2] / "manifests" / "demo"


def make_llama(directory: Path, tie: bool = False, dtype: torch.dtype = torch.bfloat16, shard: str = "50MB") -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=128,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tie,
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(directory, max_shard_size=shard)
    return directory


def request(model: Path, **recipes: Any) -> Request:
    return Request(model=model, targets={name: Recipe(**recipe) for name, recipe in recipes.items()})


def edit_tensors(model: Path, change) -> None:
    file = model / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def edit_json(path: Path, change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
