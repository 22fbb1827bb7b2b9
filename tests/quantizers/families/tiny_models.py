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

MIXTURE = {**DECODER, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
NEOX = {**DECODER, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 64, "n_positions": 64}
OPT = {**DECODER, "ffn_dim": 48, "word_embed_proj_dim": 32, "activation_function": "relu"}
T5 = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "vocab_size": 64,
    "feed_forward_proj": "relu",
    "tie_word_embeddings": False,
    "decoder_start_token_id": 0,
}
SWITCH = {
    **{key: value for key, value in T5.items() if key not in ("feed_forward_proj", "tie_word_embeddings")},
    "num_decoder_layers": 2,
    "num_sparse_encoder_layers": 1,
    "num_sparse_decoder_layers": 1,
    "num_experts": 4,
}
BERT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 64,
    "max_position_embeddings": 64,
}

# name: (config class, model class, config). Names start with the model type.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", {**DECODER, "head_dim": 16}),
    "llama-biased": ("LlamaConfig", "LlamaForCausalLM", {**DECODER, "attention_bias": True, "mlp_bias": True}),
    "mistral": ("MistralConfig", "MistralForCausalLM", {**DECODER, "sliding_window": 8}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", DECODER),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {**DECODER, "head_dim": 16}),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", {**DECODER, "head_dim": 16}),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", DECODER),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT2),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", {**NEOX, "use_parallel_residual": True}),
    "gpt_neox-sequential": ("GPTNeoXConfig", "GPTNeoXForCausalLM", {**NEOX, "use_parallel_residual": False}),
    "phi": ("PhiConfig", "PhiForCausalLM", {**DECODER, "qk_layernorm": True}),
    "opt": ("OPTConfig", "OPTForCausalLM", OPT),
    "opt-postnorm": (
        "OPTConfig",
        "OPTForCausalLM",
        {**OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 16},
    ),
    "opt-gelu": ("OPTConfig", "OPTForCausalLM", {**OPT, "activation_function": "gelu", "enable_bias": False}),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM", {**DECODER, "num_local_experts": 4}),
    "qwen2_moe": ("Qwen2MoeConfig", "Qwen2MoeForCausalLM", {**MIXTURE, "shared_expert_intermediate_size": 40}),
    "qwen2_moe-mixed": (
        "Qwen2MoeConfig",
        "Qwen2MoeForCausalLM",
        {**MIXTURE, "shared_expert_intermediate_size": 40, "mlp_only_layers": [1]},
    ),
    "qwen3_moe": ("Qwen3MoeConfig", "Qwen3MoeForCausalLM", {**MIXTURE, "head_dim": 16}),
    "t5": ("T5Config", "T5ForConditionalGeneration", T5),
    "t5-gated": ("T5Config", "T5ForConditionalGeneration", {**T5, "feed_forward_proj": "gated-gelu"}),
    "switch_transformers": ("SwitchTransformersConfig", "SwitchTransformersForConditionalGeneration", SWITCH),
    "bert": ("BertConfig", "BertForMaskedLM", BERT),
    "bert-classifier": ("BertConfig", "BertForSequenceClassification", BERT),
}


def make(name: str, seed: int = 0, **changed: Any) -> Any:
    """The model in float32 and evaluation mode; every parameter random, norm weights in 0.3 to 2."""
    config_class, model_class, config = MODELS[name]
    torch.manual_seed(seed)
    config = {**config, **changed}
    model: nn.Module = getattr(transformers, model_class)(getattr(transformers, config_class)(**config))
    generator = torch.Generator().manual_seed(seed)
    for key, parameter in model.named_parameters():
        if parameter.dim() == 1 and key.endswith("weight"):
            parameter.data.uniform_(0.3, 2.0, generator=generator)
        else:
            parameter.data.normal_(0.0, 0.25, generator=generator)
    return model.eval()
