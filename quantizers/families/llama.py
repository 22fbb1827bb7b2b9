"""Pre-norm decoders with RMSNorm, rotary positions and a gated MLP: Llama and its kin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantizers.families.family import Family, Group, Heads, Kind, Rows, Stack


def attention(config: Mapping[str, Any], norm: Kind = "norm", head_dim: int | None = None) -> tuple[Group, ...]:
    """Groups of an attention with separate projections; the value projection absorbs for the output projection."""
    return (
        Group(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "input_layernorm", norm),
        Group(("self_attn.o_proj",), "self_attn.v_proj", "linear", Heads.of(config, head_dim).value_rows()),
    )


def gated_mlp(norm: str, kind: Kind = "norm") -> tuple[Group, ...]:
    """down(act(gate(x)) * up(x)): the product is linear in `up`, which therefore absorbs for `down`."""
    return (
        Group(("mlp.gate_proj", "mlp.up_proj"), norm, kind),
        Group(("mlp.down_proj",), "mlp.up_proj", "linear"),
    )


def decoder(config: Mapping[str, Any], groups: tuple[Group, ...]) -> Family:
    """The module paths that this kin shares."""
    return Family(
        model_type=config["model_type"],
        stacks=(Stack("model.layers", groups, "model.norm"),),
        embeddings=("model.embed_tokens",),
        head="lm_head",
    )


def llama(config: Mapping[str, Any]) -> Family:
    """Llama, Mistral, Qwen2 (biased q, k, v)."""
    return decoder(config, (*attention(config), *gated_mlp("post_attention_layernorm")))


def qwen3(config: Mapping[str, Any]) -> Family:
    """Norms between q, k and the scores touch no input of a linear; values are not normed, so v absorbs for o."""
    return decoder(config, (*attention(config, head_dim=128), *gated_mlp("post_attention_layernorm")))


def gemma(config: Mapping[str, Any]) -> Family:
    """Norms multiply by 1 + weight."""
    norm: Kind = "norm_plus_one"
    groups = (*attention(config, norm, head_dim=256), *gated_mlp("post_attention_layernorm", norm))
    return decoder(config, groups)


def phi3(config: Mapping[str, Any]) -> Family:
    """Fused projections: values are the last rows of qkv, `up` is the second half of gate_up."""
    heads = Heads.of(config)
    values = heads.value_rows(offset=(heads.heads + heads.kv_heads) * heads.head_dim)
    inner = int(config["intermediate_size"])
    groups = (
        Group(("self_attn.qkv_proj",), "input_layernorm", "norm"),
        Group(("self_attn.o_proj",), "self_attn.qkv_proj", "linear", values),
        Group(("mlp.gate_up_proj",), "post_attention_layernorm", "norm"),
        Group(("mlp.down_proj",), "mlp.gate_up_proj", "linear", Rows(offset=inner, width=inner, stride=inner)),
    )
    return decoder(config, groups)


TABLES = {
    "llama": llama,
    "mistral": llama,
    "qwen2": llama,
    "qwen3": qwen3,
    "gemma": gemma,
    "phi3": phi3,
}
