"""What is stored of parts of a block of known decoders: `quantizers.families.tensors` puts blocks together from these tables."""

from __future__ import annotations

from collections.abc import Mapping

Shapes = Mapping[str, tuple[str, ...]]
"""Tensor, its name within its block, to the names of its extents in `quantizers.families.tensors.Layout.sizes`."""

ATTENTION: Shapes = {
    "self_attn.q_proj.weight": ("queries", "hidden"),
    "self_attn.k_proj.weight": ("values", "hidden"),
    "self_attn.v_proj.weight": ("values", "hidden"),
    "self_attn.o_proj.weight": ("hidden", "queries"),
}
BIASED_QKV: Shapes = {
    "self_attn.q_proj.bias": ("queries",),
    "self_attn.k_proj.bias": ("values",),
    "self_attn.v_proj.bias": ("values",),
}
BIASED_O: Shapes = {"self_attn.o_proj.bias": ("hidden",)}
QK_NORM: Shapes = {"self_attn.q_norm.weight": ("head",), "self_attn.k_norm.weight": ("head",)}
RMS: Shapes = {"input_layernorm.weight": ("hidden",), "post_attention_layernorm.weight": ("hidden",)}
GATED: Shapes = {
    "mlp.gate_proj.weight": ("inner", "hidden"),
    "mlp.up_proj.weight": ("inner", "hidden"),
    "mlp.down_proj.weight": ("hidden", "inner"),
}
BIASED_GATED: Shapes = {
    "mlp.gate_proj.bias": ("inner",),
    "mlp.up_proj.bias": ("inner",),
    "mlp.down_proj.bias": ("hidden",),
}
PHI3: Shapes = {
    **RMS,
    "self_attn.qkv_proj.weight": ("qkv", "hidden"),
    "self_attn.o_proj.weight": ("hidden", "queries"),
    "mlp.gate_up_proj.weight": ("twice_inner", "hidden"),
    "mlp.down_proj.weight": ("hidden", "inner"),
}
GPT2: Shapes = {
    **{f"{norm}.{part}": ("hidden",) for norm in ("ln_1", "ln_2") for part in ("weight", "bias")},
    "attn.c_attn.weight": ("hidden", "qkv"),
    "attn.c_attn.bias": ("qkv",),
    "attn.c_proj.weight": ("hidden", "hidden"),
    "attn.c_proj.bias": ("hidden",),
    "mlp.c_fc.weight": ("hidden", "inner"),
    "mlp.c_fc.bias": ("inner",),
    "mlp.c_proj.weight": ("inner", "hidden"),
    "mlp.c_proj.bias": ("hidden",),
}
NEOX: Shapes = {
    **{
        f"{norm}.{part}": ("hidden",)
        for norm in ("input_layernorm", "post_attention_layernorm")
        for part in ("weight", "bias")
    },
    "attention.query_key_value.weight": ("qkv", "hidden"),
    "attention.dense.weight": ("hidden", "hidden"),
    "mlp.dense_h_to_4h.weight": ("inner", "hidden"),
    "mlp.dense_h_to_4h.bias": ("inner",),
    "mlp.dense_4h_to_h.weight": ("hidden", "inner"),
    "mlp.dense_4h_to_h.bias": ("hidden",),
}
BIASED_NEOX: Shapes = {"attention.query_key_value.bias": ("qkv",), "attention.dense.bias": ("hidden",)}
PHI: Shapes = {
    **{name: shape for name, shape in ATTENTION.items() if "o_proj" not in name},
    **BIASED_QKV,
    "input_layernorm.weight": ("hidden",),
    "input_layernorm.bias": ("hidden",),
    "self_attn.dense.weight": ("hidden", "queries"),
    "self_attn.dense.bias": ("hidden",),
    "mlp.fc1.weight": ("inner", "hidden"),
    "mlp.fc1.bias": ("inner",),
    "mlp.fc2.weight": ("hidden", "inner"),
    "mlp.fc2.bias": ("hidden",),
}
PHI_NORMED: Shapes = {
    f"self_attn.{norm}.{part}": ("head",) for norm in ("q_layernorm", "k_layernorm") for part in ("weight", "bias")
}
OPT: Shapes = {
    **{f"self_attn.{name}.weight": ("hidden", "hidden") for name in ("q_proj", "k_proj", "v_proj", "out_proj")},
    "fc1.weight": ("inner", "hidden"),
    "fc2.weight": ("hidden", "inner"),
}
BIASED_OPT: Shapes = {
    **{f"self_attn.{name}.bias": ("hidden",) for name in ("q_proj", "k_proj", "v_proj", "out_proj")},
    "fc1.bias": ("inner",),
    "fc2.bias": ("hidden",),
}
OPT_NORMS: Shapes = {
    f"{norm}.{part}": ("hidden",)
    for norm in ("self_attn_layer_norm", "final_layer_norm")
    for part in ("weight", "bias")
}
