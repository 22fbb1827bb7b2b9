"""Architectures of transformers made tiny: their default configurations, shrunk, with random weights."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

HEADS, KV_HEADS, HEAD, HIDDEN, INNER, LAYERS, CONTEXT, EXPERTS = 4, 2, 16, 64, 96, 2, 128, 4
VOCABULARY = 2048
"""As many as the demo's tokenizer has."""

SIZES: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embed_dim", "word_embed_proj_dim"), HIDDEN),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "n_inner", "d_ff", "ffn_hidden_size", "moe_intermediate_size"), INNER
    ),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "shared_expert_intermediate_size"), INNER),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"), LAYERS
    ),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "multi_query_group_num"), KV_HEADS),
    **dict.fromkeys(("head_dim", "attention_head_size", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), HEAD),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank"), 32),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "context_length"), CONTEXT),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), EXPERTS),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "num_experts_per_token"), 2),
    "rotary_dim": HEAD,
    "sliding_window": 16,
    "hidden_size_per_layer_input": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "mamba_n_heads": 4,
    "mamba_d_head": 32,
    "mamba_d_state": 16,
}
"""What a key of a configuration is set to, wherever it has the key."""


_DERIVED = frozenset(
    {"id2label", "label2id", "num_labels", "_name_or_path", "dtype", "quantization_config", "transformers_version"}
    | {"model_type", "architectures"}
)


def causal_types() -> list[str]:
    """Return the model types that transformers has a causal language model for."""
    return sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) & set(CONFIG_MAPPING))


def shrunk(model_type: str) -> PreTrainedConfig:
    """Return the default configuration of a type, made tiny; keys that it computes from others are left to it."""
    config = AutoConfig.for_model(model_type)
    signature = inspect.signature(type(config).__init__).parameters
    fields = set(getattr(type(config), "__dataclass_fields__", ())) | signature.keys()
    return type(config)(**{key: value for key, value in _shrunk(config.to_dict()).items() if key in fields})


def _shrunk(values: dict[str, Any]) -> dict[str, Any]:
    small: dict[str, Any] = {}
    for key, value in values.items():
        if not isinstance(key, str):
            small[key] = value
        elif isinstance(value, dict):
            small[key] = value if key.startswith("rope") else _shrunk(value)
        elif key == "layer_types" and isinstance(value, list):
            small[key] = _few(value)
        elif key in SIZES and isinstance(value, int) and not isinstance(value, bool):
            small[key] = SIZES[key]
        elif key.endswith("token_id") and isinstance(value, int):
            small[key] = min(value, VOCABULARY - 1)
        elif key.endswith("token_id") and isinstance(value, list):
            small[key] = [min(each, VOCABULARY - 1) for each in value]
        else:
            small[key] = value
    return {
        key: value
        for key, value in small.items()
        if key not in (*_DERIVED, "transformers_version", "model_type", "architectures")
    }


def _few(kinds: list[str]) -> list[str]:
    """Kinds of layers for so few, all that are different first."""
    different = list(dict.fromkeys(kinds))
    return (different * LAYERS)[:LAYERS]


def make(model_type: str, seed: int = 0) -> Any:
    """Return the model in float32 and evaluation mode; norm weights in 0.5 to 1.5, the others small."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(shrunk(model_type), dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 and name.endswith("weight"):
            parameter.data.uniform_(0.5, 1.5)
        else:
            parameter.data.normal_(0.0, 0.1)
    return model.eval()


def save(model_type: str, directory: Path) -> Path:
    """Save the model, as its users have it; the tokenizer is left to the caller."""
    make(model_type).save_pretrained(directory)
    return directory
