"""Architectures of transformers made tiny: their default configurations, shrunk, with random weights."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, EncoderDecoderConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

HEADS, KV_HEADS, HEAD, HIDDEN, INNER, LAYERS, CONTEXT, EXPERTS = 4, 2, 16, 64, 96, 2, 128, 4
VOCABULARY = 2048
"""As many as the demo's tokenizer has."""
SPREAD = 0.05
"""Standard deviation of weights. Blocks add less than they are given: a matrix set to zero moves the output by some percent, and
int8 by less than one."""

SIZES: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embed_dim", "word_embed_proj_dim"), HIDDEN),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "n_inner", "d_ff", "ffn_hidden_size", "moe_intermediate_size"), INNER
    ),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "shared_expert_intermediate_size"), INNER),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"), LAYERS
    ),
    "num_decoder_layers": LAYERS,
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
    "qk_head_dim": 2 * HEAD,
    "d_head": HEAD,
    "d_kv": HEAD,
    "embedding_size": HIDDEN,
    "embedding_dim": HIDDEN,
    "attention_hidden_size": HIDDEN,
    "mamba_d_ssm": 128,
    "time_step_rank": 32,
    "expert_ffn_hidden_size": INNER,
}
"""What a key of a configuration is set to, wherever it has the key."""


OWN: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "dbrx": {
        "attn_config": {"kv_n_heads": KV_HEADS, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"hidden_size": HIDDEN, "ffn_hidden_size": INNER, "moe_num_experts": EXPERTS, "moe_top_k": 2},
    },
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": EXPERTS, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "gemma3n": {"intermediate_size": INNER, "num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.95, 0.0]},
    "glm_moe_dsa": {"num_key_value_heads": HEADS},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "attention_layers": ["global", "local"]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "hunyuan_v1_dense": {"head_dim": HEAD},
    "hunyuan_v1_moe": {"head_dim": HEAD},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"num_heads": 8, "head_dim": HEAD, "n_groups": 2, "state_size": HEAD},
    "ministral": {"head_dim": HEAD},
    "nemotron": {"head_dim": HEAD, "num_key_value_heads": KV_HEADS},
    "nemotron_h": {
        **{"layers_block_type": ["mamba", "attention", "moe"], "num_hidden_layers": 3, "mamba_num_heads": 4},
        **{"mamba_head_dim": 32, "ssm_state_size": 16, "n_groups": 1, "moe_shared_expert_intermediate_size": INNER},
    },
    "recurrent_gemma": {"intermediate_size": 2 * INNER, "block_types": ["recurrent", "attention"]},
    "reformer": {"is_decoder": True, "axial_pos_shape": [8, 16], "axial_pos_embds_dim": [32, 32]},
    "granite_speech": {"output_dim": 48},
    "perceiver": {"num_self_attends_per_block": LAYERS, "num_latents": 16, "d_latents": HIDDEN},
    "phi": {"num_key_value_heads": HEADS},
    "qwen3_moe": {"head_dim": HEAD},
    "mobilebert": {"embedding_size": 32, "intra_bottleneck_size": 32, "true_hidden_size": 32, "trigram_input": True},
    "esm": {"vocab_size": VOCABULARY, "pad_token_id": 1, "mask_token_id": 3},
    "squeezebert": {"embedding_size": HIDDEN},
    "masked/reformer": {"is_decoder": False, "axial_pos_shape": [8, 16], "axial_pos_embds_dim": [32, 32]},
    "encoder/t5gemma": {"is_encoder_decoder": False},
    "vibevoice_asr": {"depths": [1, 1, 1], "downsampling_ratios": [2, 2], "num_filters": 8},
    "xmod": {"default_language": "en_XX"},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "hybrid_layer_ids": [1]},
}
"""What a type needs beside, or one of its kinds: keys that its defaults leave out, or that hang together."""
OWN["gemma3n_text"] = OWN["gemma3n"]


_DERIVED = frozenset(
    {"id2label", "label2id", "num_labels", "_name_or_path", "dtype", "quantization_config", "transformers_version"}
    | {"model_type", "architectures"}
)


KINDS = {
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "masked": "AutoModelForMaskedLM",
    "encoder": "AutoModelForTextEncoding",
}
"""What a language model is made for, and the auto class of transformers that knows its types."""


def types(kind: str) -> list[str]:
    """Return the model types that transformers has a model of a kind for."""
    mapping = getattr(transformers, KINDS[kind])._model_mapping
    return sorted(set(mapping._model_mapping) & set(CONFIG_MAPPING))


def shrunk(model_type: str, kind: str = "causal") -> PreTrainedConfig:
    """Return the default configuration of a type, made tiny; keys that it computes from others are left to it."""
    if model_type == "encoder-decoder":
        return EncoderDecoderConfig.from_encoder_decoder_configs(shrunk("bert"), shrunk("bert"))  # type: ignore[no-any-return]
    config = AutoConfig.for_model(model_type)
    signature = inspect.signature(type(config).__init__).parameters
    fields = set(getattr(type(config), "__dataclass_fields__", ())) | signature.keys()
    own = OWN.get(f"{kind}/{model_type}", OWN.get(model_type, {}))
    small = _shrunk(config.to_dict(), own)
    # What no part of it has by default is the whole's.
    return type(config)(
        **{key: value for key, value in {**small, **_absent(own, small)}.items() if key in fields or key in own}
    )


def _absent(own: dict[str, Any], small: dict[str, Any]) -> dict[str, Any]:
    nested = [value for value in small.values() if isinstance(value, dict)]
    return {key: value for key, value in own.items() if not any(key in each for each in nested)}


def _shrunk(values: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    small: dict[str, Any] = {}
    for key, value in values.items():
        if key in own:
            small[key] = own[key]
        elif not isinstance(key, str):
            small[key] = value
        elif isinstance(value, dict):
            small[key] = value if key.startswith("rope") else _shrunk(value, own)
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
    return {key: value for key, value in small.items() if key not in _DERIVED}


def _few(kinds: list[str]) -> list[str]:
    """Kinds of layers for so few, all that are different first."""
    different = list(dict.fromkeys(kinds))
    return (different * LAYERS)[:LAYERS]


def make(model_type: str, seed: int = 0, kind: str = "causal", ends: float = 1.0) -> Any:
    """Return the model in float32 and evaluation mode; norm weights in 0.5 to 1.5, embeddings middling, others small.

    What a norm at the end of a branch adds is as large as its weight, whatever the branch computes: `ends` times as large.
    """
    torch.manual_seed(seed)
    auto = getattr(transformers, KINDS[kind])
    config = shrunk(model_type, kind)
    built = auto._model_mapping[type(config)]
    if built.config_class is not type(config) and config.get_text_config() is not config:
        config = config.get_text_config()
    model = built._from_config(config, dtype=torch.float32)
    looked_up = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    names = " ".join(name for name, _ in model.named_parameters())
    for name, parameter in model.named_parameters():
        if id(parameter) in looked_up:
            parameter.data.normal_(0.0, 10 * SPREAD)
        elif parameter.dim() == 1 and name.endswith(("weight", "residual")):
            small = _ends(name, names) and bool((parameter == 1).all())  # and it does not multiply by 1 + weight
            parameter.data.uniform_(0.5, 1.5).mul_(ends if small else 1.0)
        else:
            parameter.data.normal_(0.0, SPREAD)
    return model.eval()


def _ends(name: str, names: str) -> bool:
    """Whether a norm ends a branch: Llama's `post_attention_layernorm` begins one, and has none behind the MLP beside it."""
    both = any(f".post_{mlp}_" in names for mlp in ("feedforward", "mlp"))
    return both and any(f".post_{branch}" in name for branch in ("feedforward", "mlp", "attention", "self_attn"))


def save(model_type: str, directory: Path, kind: str = "causal", ends: float = 1.0) -> Path:
    """Save the model, as its users have it; the tokenizer is left to the caller."""
    make(model_type, kind=kind, ends=ends).save_pretrained(directory)
    return directory
