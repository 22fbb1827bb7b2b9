"""Pre-norm decoders with RMSNorm, rotary positions and a gated MLP: Llama and its kin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantizers.families.family import Family, Group, Heads, Kind, Stack


def attention(config: Mapping[str, Any], norm: Kind = "norm") -> tuple[Group, ...]:
    """Groups of an attention with separate projections; the value projection absorbs for the output projection."""
    return (
        Group(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "input_layernorm", norm),
        Group(("self_attn.o_proj",), "self_attn.v_proj", "linear", Heads.of(config).value_rows()),
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
        positions=("model.rotary_emb",),
        head="lm_head",
    )


def llama(config: Mapping[str, Any]) -> Family:
    """Llama, Mistral, Qwen2 (biased q, k, v), Qwen3 (norms on q and k, which touch no input of a linear)."""
    return decoder(config, (*attention(config), *gated_mlp("post_attention_layernorm")))


TABLES = {"llama": llama, "mistral": llama, "qwen2": llama, "qwen3": llama}
