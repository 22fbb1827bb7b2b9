"""One vector of a text from its tokens' hidden states, as sentence-transformers computes it from the files beside a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from catalog import sentence_transformers as layout
from gates.errors import GateError

Step = Callable[[Tensor, Tensor], Tensor]
"""Hidden states `[tokens, hidden]`, or what a step before made of them, and the attention mask `[tokens]`, to the next."""


def _cls(states: Tensor, mask: Tensor) -> Tensor:
    return states[0]


def _max(states: Tensor, mask: Tensor) -> Tensor:
    return states[mask.bool()].amax(0)


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return states[mask.bool()].mean(0)


def _sum_by_root(states: Tensor, mask: Tensor) -> Tensor:
    kept = states[mask.bool()]
    summed: Tensor = kept.sum(0) / len(kept) ** 0.5
    return summed


def _weighted(states: Tensor, mask: Tensor) -> Tensor:
    weights = torch.arange(1, len(states) + 1)[:, None] * mask[:, None]
    return (states * weights).sum(0) / weights.sum()


def _last(states: Tensor, mask: Tensor) -> Tensor:
    return states[mask.bool()][-1]


_MODES = {
    "cls": _cls,
    "cls_token": _cls,
    "max": _max,
    "max_tokens": _max,
    "mean": _mean,
    "mean_tokens": _mean,
    "mean_sqrt_len_tokens": _sum_by_root,
    "weightedmean": _weighted,
    "weightedmean_tokens": _weighted,
    "lasttoken": _last,
}
"""By the names in `pooling_mode`, and those of the older switches `pooling_mode_<name>`, in their order."""


def steps(model: Path) -> list[Step]:
    """Return the steps of a directory; where none are listed, the mean over tokens, as sentence-transformers does.

    Raises:
        GateError: a step is of a kind that is not known here.
    """
    listed = layout.modules(model)
    if listed is None:
        return [_mean]
    made = {"Pooling": _pooling, "Normalize": _normalize, "Dense": _dense}
    for module in listed:
        if module.kind not in made:
            raise GateError(
                f"{model / layout.LIST}: {module.path} is a {module.kind}, and what can be computed here of one text is "
                f"{', '.join(made)}. Name a model with these."
            )
    return [made[module.kind](model / module.path) for module in listed]


def embed(states: Tensor, mask: Tensor, pooling: list[Step]) -> Tensor:
    """Return the vector of a text, float32 `[dimensions]`."""
    vector = states.float()
    for step in pooling:
        vector = step(vector, mask)
    return vector


def _pooling(directory: Path) -> Step:
    said = layout.settings(directory, "config.json")
    named = said.get("pooling_mode")
    modes = [named] if isinstance(named, str) else list(named or [])
    modes = modes or [name for name in _MODES if said.get(f"pooling_mode_{name}")]
    if not modes or not set(modes) <= _MODES.keys():
        raise GateError(f"{directory / 'config.json'}: names no pooling that is known here ({', '.join(_MODES)}).")
    return lambda states, mask: torch.cat([_MODES[mode](states, mask) for mode in modes])


def _normalize(directory: Path) -> Step:
    return lambda vector, mask: functional.normalize(vector, dim=0)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Tanh": torch.tanh,
    "Identity": lambda vector: vector,
    "ReLU": torch.relu,
    "GELU": functional.gelu,
}


def _dense(directory: Path) -> Step:
    name = str(layout.settings(directory, "config.json").get("activation_function", "Identity")).rpartition(".")[2]
    if name not in _ACTIVATIONS:
        raise GateError(f"{directory / 'config.json'}: its activation, {name}, is none of {', '.join(_ACTIVATIONS)}.")
    weights = load_file(directory / "model.safetensors")
    linear, bias = weights["linear.weight"].float(), weights.get("linear.bias")
    return lambda vector, mask: _ACTIVATIONS[name](functional.linear(vector, linear, bias))
