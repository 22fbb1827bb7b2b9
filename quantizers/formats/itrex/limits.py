"""What transformers 4.41, which the archived stack runs on, computes of a model in another way than the one of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantizers.formats.itrex import legacy
from quantizers.formats.limits import Facts


def refusal(facts: Facts) -> str | None:
    """Return why it cannot hold a model, without advice, or None."""
    config = facts.config
    if problem := _positions(config):
        return problem
    heads, width = config.get("num_attention_heads"), config.get("hidden_size")
    if config.get("head_dim") and heads and width and config["head_dim"] * heads != width:
        return (
            f"format itrex runs on transformers 4.41, which takes heads of hidden_size / num_attention_heads, and head_dim is "
            f"{config['head_dim']}"
        )
    if facts.directory and (problem := legacy.refuse_tokenizer(facts.directory)):
        return problem
    return None


def _positions(config: Mapping[str, Any]) -> str | None:
    kind = legacy.positions(config).get("rope_type", "default")
    if kind in ("default", "linear", "dynamic"):
        return None
    return (
        f"format itrex runs on transformers 4.41, which knows linear and dynamic positions, and rope_type is {kind!r}"
    )
