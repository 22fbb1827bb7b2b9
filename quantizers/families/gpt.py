"""Decoders with LayerNorm and a plain MLP: GPT-2, GPT-NeoX, OPT, Phi.

A plain MLP's second linear has an absorber only where the activation is positively homogeneous (ReLU).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantizers.errors import QuantizeError
from quantizers.families.family import Family, Group, Heads, Kind, Rows, Stack


def gpt2(config: Mapping[str, Any]) -> Family:
    """Conv1D (weights [in, out]) and q, k, v in one; values are its last third."""
    if config.get("add_cross_attention"):
        raise QuantizeError("config.json: a gpt2 with add_cross_attention has no family table; only the decoder has.")
    hidden = int(config["n_embd"])
    groups = (
        Group(("attn.c_attn",), "ln_1", "norm"),
        Group(("attn.c_proj",), "attn.c_attn", "linear", Rows(offset=2 * hidden, width=hidden, stride=hidden)),
        Group(("mlp.c_fc",), "ln_2", "norm"),
        Group(("mlp.c_proj",)),
    )
    return Family(
        model_type="gpt2",
        stacks=(Stack("transformer.h", groups, "transformer.ln_f"),),
        embeddings=("transformer.wte", "transformer.wpe"),
        head="lm_head",
    )


def gpt_neox(config: Mapping[str, Any]) -> Family:
    """Each branch has a norm of its own, with or without parallel residual; q, k, v are interleaved head by head."""
    size = int(config["hidden_size"]) // int(config["num_attention_heads"])
    values = Rows(offset=2 * size, width=size, stride=3 * size)
    groups = (
        Group(("attention.query_key_value",), "input_layernorm", "norm"),
        Group(("attention.dense",), "attention.query_key_value", "linear", values),
        Group(("mlp.dense_h_to_4h",), "post_attention_layernorm", "norm"),
        Group(("mlp.dense_4h_to_h",)),
    )
    return Family(
        model_type="gpt_neox",
        stacks=(Stack("gpt_neox.layers", groups, "gpt_neox.final_layer_norm"),),
        embeddings=("gpt_neox.embed_in",),
        head="embed_out",
    )


def phi(config: Mapping[str, Any]) -> Family:
    """A parallel block: one norm feeds attention and MLP, so all four readers scale together."""
    readers = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.fc1")
    groups = (
        Group(readers, "input_layernorm", "norm"),
        Group(("self_attn.dense",), "self_attn.v_proj", "linear", Heads.of(config).value_rows()),
        Group(("mlp.fc2",)),
    )
    return Family(
        model_type="phi",
        stacks=(Stack("model.layers", groups, "model.final_layernorm"),),
        embeddings=("model.embed_tokens",),
        head="lm_head",
    )


def opt(config: Mapping[str, Any]) -> Family:
    """OPT, and Galactica under its name (GELU). Post-norm (350m): a norm's output is also the residual, and stays.

    Norms without weight absorb nothing.
    """
    before = bool(config.get("do_layer_norm_before", True))
    absorbs = before and bool(config.get("layer_norm_elementwise_affine", True))
    norm: Kind = "norm" if absorbs else "none"
    relu = config.get("activation_function", "relu") == "relu"
    qkv = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    groups = (
        Group(qkv, "self_attn_layer_norm" if absorbs else None, norm),
        Group(("self_attn.out_proj",), "self_attn.v_proj", "linear"),
        Group(("fc1",), "final_layer_norm" if absorbs else None, norm),
        Group(("fc2",), "fc1", "linear") if relu else Group(("fc2",)),
    )
    projected = config.get("word_embed_proj_dim", config["hidden_size"]) != config["hidden_size"]
    final = before and not config.get("_remove_final_layer_norm", False)
    embeddings = ("model.decoder.embed_tokens", "model.decoder.embed_positions")
    return Family(
        model_type="opt",
        stacks=(Stack("model.decoder.layers", groups, "model.decoder.final_layer_norm" if final else None),),
        embeddings=(*embeddings, "model.decoder.project_in") if projected else embeddings,
        head="lm_head",
        before_head=("model.decoder.project_out",) if projected else (),
    )


TABLES = {"gpt2": gpt2, "gpt_neox": gpt_neox, "phi": phi, "opt": opt}
