"""What of a model that sees its language model is not given: blocks behind those whose states are taken as features."""

from __future__ import annotations

from transformers import PretrainedConfig


def unread(config: PretrainedConfig) -> tuple[str, ...]:
    """Return patterns of the names of what is not run, in a LLaVA: its states are taken before the tower's last norm.

    Args:
        config: of the whole model; `vision_feature_layer` counts states, of which the first is what blocks are given.
    """
    count, taken = config.vision_config.num_hidden_layers, config.vision_feature_layer
    last = taken if taken >= 0 else count + 1 + taken
    behind = (f"*vision_tower*.layers.{number}.*" for number in range(last, count))
    return (*behind, "*vision_tower*.post_layernorm*", "*vision_tower*.vision_model.head.*")
