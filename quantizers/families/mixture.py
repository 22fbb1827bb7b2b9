"""Mixtures of experts: Mixtral, Qwen2-MoE, Qwen3-MoE.

All experts, the shared one and the router read one norm, so one scale serves them all; each expert's `up` absorbs for its
own `down`. The experts are linears here (`quantizers.families.experts`), and each is rounded by the tokens that were sent
to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantizers.families.family import Family, Group
from quantizers.families.llama import attention, decoder

NORM = "post_attention_layernorm"
DENSE = (
    Group(("mlp.gate_proj", "mlp.up_proj"), NORM, "norm"),
    Group(("mlp.down_proj",), "mlp.up_proj", "linear"),
)
"""In blocks without experts, which `mlp_only_layers` and `decoder_sparse_step` make of some."""
ROUTERS = frozenset({"gate", "shared_expert_gate"})
"""Last names of the followers below."""
_QWEN = ("gate_proj", "up_proj", "down_proj")
MATRICES = {"mixtral": ("w1", "w3", "w2"), "qwen2_moe": _QWEN, "qwen3_moe": _QWEN}
"""What checkpoints call gate, up and down of an expert."""


_COUNTS = ("num_experts", "num_local_experts")
"""Keys of config.json that tell how many there are; transformers 5 writes Qwen3's under Mixtral's name."""


def experts_of(config: Mapping[str, Any]) -> int:
    """How many experts a block of a mixture has. Raises KeyError when config.json does not say."""
    return int(config[next((key for key in _COUNTS if key in config), _COUNTS[0])])


def _experts(
    config: Mapping[str, Any], readers: tuple[str, ...] = (), followers: tuple[str, ...] = ()
) -> tuple[Group, ...]:
    gate, up, down = MATRICES[config["model_type"]]
    experts = [f"mlp.experts.{n}" for n in range(experts_of(config))]
    read = tuple(f"{expert}.{matrix}" for expert in experts for matrix in (gate, up))
    return (
        Group((*read, *readers), NORM, "norm", followers=("mlp.gate", *followers), experts=True),
        *(Group((f"{expert}.{down}",), f"{expert}.{up}", "linear", experts=True) for expert in experts),
    )


def mixtral(config: Mapping[str, Any]) -> Family:
    """Experts and a router."""
    return decoder(config, (*attention(config), *_experts(config)))


def qwen2_moe(config: Mapping[str, Any]) -> Family:
    """Experts, a router, and one shared expert behind a gate of its own."""
    shared = ("mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj")
    groups = (
        *attention(config),
        *_experts(config, shared, ("mlp.shared_expert_gate",)),
        Group(("mlp.shared_expert.down_proj",), "mlp.shared_expert.up_proj", "linear"),
        *DENSE,
    )
    return decoder(config, groups)


def qwen3_moe(config: Mapping[str, Any]) -> Family:
    """Experts and a router; norms on q and k as in Qwen3."""
    return decoder(config, (*attention(config), *_experts(config), *DENSE))


TABLES = {"mixtral": mixtral, "qwen2_moe": qwen2_moe, "qwen3_moe": qwen3_moe}
