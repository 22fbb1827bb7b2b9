"""Tiny random models, one per architecture variant, with norms and biases that are far from trivial."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import nn

DECODER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}

# name: (config class, model class, config). Names start with the model type.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", {**DECODER, "head_dim": 16}),
    "llama-biased": ("LlamaConfig", "LlamaForCausalLM", {**DECODER, "attention_bias": True, "mlp_bias": True}),
    "mistral": ("MistralConfig", "MistralForCausalLM", {**DECODER, "sliding_window": 8}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", DECODER),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {**DECODER, "head_dim": 16}),
}


def make(name: str, seed: int = 0) -> nn.Module:
    """The model in float32 and evaluation mode; every parameter random, norm weights in 0.3 to 2."""
    config_class, model_class, config = MODELS[name]
    torch.manual_seed(seed)
    model: nn.Module = getattr(transformers, model_class)(getattr(transformers, config_class)(**config))
    generator = torch.Generator().manual_seed(seed)
    for key, parameter in model.named_parameters():
        if parameter.dim() == 1 and key.endswith("weight"):
            parameter.data.uniform_(0.3, 2.0, generator=generator)
        else:
            parameter.data.normal_(0.0, 0.25, generator=generator)
    return model.eval()
