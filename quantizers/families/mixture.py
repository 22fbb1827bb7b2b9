"""Mixtures of experts: Mixtral, Qwen2-MoE, Qwen3-MoE.

transformers 5 stacks the experts of a block in two 3-D parameters, `gate_up_proj` [experts, 2 * inner, hidden] and
`down_proj` [experts, hidden, inner]; files still hold one matrix per expert. All experts, the shared one and the
router read one norm, so one scale serves them all; each expert's `up` absorbs for its own `down`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantizers.families.family import Family, Group, Rows
from quantizers.families.llama import attention, decoder

NORM = "post_attention_layernorm"
DENSE = (
    Group(("mlp.gate_proj", "mlp.up_proj"), NORM, "norm"),
    Group(("mlp.down_proj",), "mlp.up_proj", "linear"),
)
"""In blocks without experts, which `mlp_only_layers` and `decoder_sparse_step` make of some."""
ROUTERS = frozenset({"gate", "shared_expert_gate"})
"""Last names of the followers below."""


def _experts(inner: int, readers: tuple[str, ...], followers: tuple[str, ...]) -> tuple[Group, ...]:
    return (
        Group(("mlp.experts.gate_up_proj", *readers), NORM, "norm", followers=("mlp.gate", *followers)),
        Group(("mlp.experts.down_proj",), "mlp.experts.gate_up_proj", "linear", Rows(inner, inner, inner)),
    )


def mixtral(config: Mapping[str, Any]) -> Family:
    """Experts and a router."""
    return decoder(config, (*attention(config), *_experts(int(config["intermediate_size"]), (), ())))


def qwen2_moe(config: Mapping[str, Any]) -> Family:
    """Experts, a router, and one shared expert behind a gate of its own."""
    shared = ("mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj")
    groups = (
        *attention(config),
        *_experts(int(config["moe_intermediate_size"]), shared, ("mlp.shared_expert_gate",)),
        Group(("mlp.shared_expert.down_proj",), "mlp.shared_expert.up_proj", "linear"),
        *DENSE,
    )
    return decoder(config, groups)


def qwen3_moe(config: Mapping[str, Any]) -> Family:
    """Experts and a router; norms on q and k as in Qwen3."""
    return decoder(config, (*attention(config), *_experts(int(config["moe_intermediate_size"]), (), ()), *DENSE))


TABLES = {"mixtral": mixtral, "qwen2_moe": qwen2_moe, "qwen3_moe": qwen3_moe}
