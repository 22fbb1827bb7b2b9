"""T5, Flan-T5: an encoder and a decoder with cross-attention, RMSNorm, and positions as a bias of the scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catalog.architectures import is_lone
from quantizers.families.family import Family, Group, Stack


def attention(layer: str, name: str, inputs: tuple[str, ...]) -> tuple[Group, ...]:
    """Linears behind the layer's norm, and the output projection."""
    parts = tuple(f"{layer}.{name}.{part}" for part in inputs)
    return (
        Group(parts, f"{layer}.layer_norm", "norm"),
        Group((f"{layer}.{name}.o",), f"{layer}.{name}.v", "linear"),
    )


def _mlp(layer: str, activation: str) -> tuple[Group, ...]:
    inner, norm = f"{layer}.DenseReluDense", f"{layer}.layer_norm"
    if activation.startswith("gated-"):
        gated = Group((f"{inner}.wi_0", f"{inner}.wi_1"), norm, "norm")
        return gated, Group((f"{inner}.wo",), f"{inner}.wi_1", "linear")
    last = Group((f"{inner}.wo",), f"{inner}.wi", "linear") if activation == "relu" else Group((f"{inner}.wo",))
    return Group((f"{inner}.wi",), norm, "norm"), last


def t5(config: Mapping[str, Any]) -> Family:
    """The first block of a stack makes the position bias that its later blocks take; an encoder alone has one stack.

    Keys and values of cross-attention read the encoder's output, which all decoder blocks share: nothing in the block
    absorbs for them.
    """
    activation = str(config.get("feed_forward_proj", "relu"))
    encoder = (*attention("layer.0", "SelfAttention", ("q", "k", "v")), *_mlp("layer.1", activation))
    cross = "layer.1.EncDecAttention"
    decoder = (
        *attention("layer.0", "SelfAttention", ("q", "k", "v")),
        Group((f"{cross}.k", f"{cross}.v")),
        *attention("layer.1", "EncDecAttention", ("q",)),
        *_mlp("layer.2", activation),
    )
    stacks = (
        Stack(
            "encoder.block",
            encoder,
            "encoder.final_layer_norm",
            carries=((1, "position_bias"),),
            embeddings=("encoder.embed_tokens",),
        ),
        Stack(
            "decoder.block",
            decoder,
            "decoder.final_layer_norm",
            carries=((1, "position_bias"), (2, "encoder_decoder_position_bias")),
            embeddings=("decoder.embed_tokens",),
        ),
    )
    alone = is_lone(config.get("architectures") or ())
    return Family(model_type="t5", stacks=stacks[:1] if alone else stacks, embeddings=(), head="lm_head")


TABLES = {"t5": t5}
