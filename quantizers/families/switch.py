"""Switch Transformers: T5 with a mixture of experts, one for each token, in some of its blocks.

The experts are linears, so a stock loader reads them quantized; each is rounded by the tokens that were sent to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantizers.families.family import Family, Group, Stack
from quantizers.families.t5 import attention

ROUTERS = frozenset({"classifier"})
"""Last name of the follower below."""


def _mlp(layer: str, config: Mapping[str, Any]) -> tuple[Group, ...]:
    norm, inner = f"{layer}.layer_norm", f"{layer}.mlp"
    homogeneous = config.get("dense_act_fn", "relu") == "relu"
    experts = tuple(f"{inner}.experts.expert_{n}" for n in range(int(config["num_experts"])))
    read = tuple(f"{expert}.wi" for expert in experts)

    def last(mlp: str, routed: bool) -> Group:
        if homogeneous:
            return Group((f"{mlp}.wo",), f"{mlp}.wi", "linear", experts=routed)
        return Group((f"{mlp}.wo",), experts=routed)

    return (
        Group((f"{inner}.wi",), norm, "norm"),
        last(inner, False),
        Group(read, norm, "norm", followers=(f"{inner}.router.classifier",), experts=True),
        *(last(expert, True) for expert in experts),
    )


def switch(config: Mapping[str, Any]) -> Family:
    """A block has either the dense linears or the experts. transformers hands no position bias from block to block."""
    own = attention("layer.0", "SelfAttention", ("q", "k", "v"))
    cross = "layer.1.EncDecAttention"
    decoder = (
        *own,
        Group((f"{cross}.k", f"{cross}.v")),
        *attention("layer.1", "EncDecAttention", ("q",)),
        *_mlp("layer.2", config),
    )
    stacks = {"encoder": (*own, *_mlp("layer.1", config)), "decoder": decoder}
    return Family(
        model_type="switch_transformers",
        stacks=tuple(
            Stack(f"{name}.block", groups, f"{name}.final_layer_norm", embeddings=(f"{name}.embed_tokens",))
            for name, groups in stacks.items()
        ),
        embeddings=(),
        head="lm_head",
    )


TABLES = {"switch_transformers": switch}
