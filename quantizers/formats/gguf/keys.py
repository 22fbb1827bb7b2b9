"""What a GGUF says of an architecture: its sizes, and its rotary positions as keys and tensors."""

from __future__ import annotations

from math import log, pi, sqrt
from typing import Any

import numpy as np
from gguf import GGUFWriter, RopeScalingType
from transformers import PretrainedConfig

from quantizers.formats.gguf.limits import rope_of

ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "phi3": "phi3",
}
"""Model type → what llama.cpp calls it."""


def add(writer: GGUFWriter, config: PretrainedConfig) -> str | None:
    """Write the sizes of an architecture; returns a note where llama.cpp can use less of the model than transformers."""
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    context, window = config.max_position_embeddings, _window(config)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(min(context, window or context))
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = rope_of(config.to_dict())
    writer.add_rope_dimension_count(int(head * rope["partial_rotary_factor"]))
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    _SCALING.get(rope["rope_type"], _unscaled)(writer, config, rope)
    if window and window < context:
        return f"context_length is {window} of {context} tokens: llama.cpp has no sliding window for this architecture"
    return None


def tensors(config: PretrainedConfig) -> dict[str, np.ndarray]:
    """Tensors, float32, that llama.cpp divides rotary frequencies by."""
    rope = rope_of(config.to_dict())
    if rope["rope_type"] == "longrope":
        return {
            f"rope_factors_{kind}.weight": np.array(rope[f"{kind}_factor"], np.float32) for kind in ("long", "short")
        }
    if rope["rope_type"] == "llama3":
        return {"rope_freqs.weight": _smooth(config, rope)}
    return {}


def _window(config: PretrainedConfig) -> int | None:
    """Tokens that attention looks back, of a model that makes use of its sliding window."""
    used = getattr(config, "use_sliding_window", True)
    return getattr(config, "sliding_window", None) if used else None


def _unscaled(writer: GGUFWriter, config: PretrainedConfig, rope: dict[str, Any]) -> None:
    """Nothing to say."""


def _linear(writer: GGUFWriter, config: PretrainedConfig, rope: dict[str, Any]) -> None:
    writer.add_rope_scaling_type(RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(float(rope["factor"]))


def _yarn(writer: GGUFWriter, config: PretrainedConfig, rope: dict[str, Any]) -> None:
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(float(rope["factor"]))
    writer.add_rope_scaling_orig_ctx_len(_original(config, rope))
    writer.add_rope_scaling_yarn_beta_fast(float(rope.get("beta_fast") or 32))
    writer.add_rope_scaling_yarn_beta_slow(float(rope.get("beta_slow") or 1))


def _longrope(writer: GGUFWriter, config: PretrainedConfig, rope: dict[str, Any]) -> None:
    original = _original(config, rope)
    factor = config.max_position_embeddings / original
    attention = rope.get("attention_factor") or (sqrt(1 + log(factor) / log(original)) if factor > 1 else 1.0)
    writer.add_rope_scaling_orig_ctx_len(original)
    writer.add_rope_scaling_attn_factors(float(attention))


_SCALING = {"linear": _linear, "yarn": _yarn, "longrope": _longrope}


def _original(config: PretrainedConfig, rope: dict[str, Any]) -> int:
    original = rope.get("original_max_position_embeddings")
    return int(original or getattr(config, "original_max_position_embeddings", None) or config.max_position_embeddings)


def _smooth(config: PretrainedConfig, rope: dict[str, Any]) -> np.ndarray:
    """Llama 3's divisors: `factor` for long wavelengths, 1 for short ones, and a slope between."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    wavelengths = 2 * pi * float(rope["rope_theta"]) ** (np.arange(0, head, 2, dtype=np.float64) / head)
    share = np.clip((_original(config, rope) / wavelengths - low) / (high - low), 0, 1)
    divisors: np.ndarray = (1 / ((1 - share) / factor + share)).astype(np.float32)
    return divisors
