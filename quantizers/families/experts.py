"""The experts of a mixture as linears. transformers 5 stacks those of a block in two 3-D parameters.

A calibrated pass watches, scales and rounds each expert by itself, and files hold one matrix for each of its linears.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from quantizers.families.mixture import MATRICES

STACKS = (".experts.gate_up_proj", ".experts.down_proj")
"""How the names of the 3-D parameters end."""


class Experts(nn.Module):
    """What a stock module of stacked experts computes, of three linears without bias for each expert.

    Children `0`, `1`, … are the experts; their children have the names of the checkpoint.
    """

    def __init__(self, stock: nn.Module, names: tuple[str, str, str]) -> None:
        """Take the place of `stock`, which holds `gate_up_proj` [experts, 2 * inner, hidden] and `down_proj`
        [experts, hidden, inner]; the weights are views of these. `names` are those of gate, up and down."""
        super().__init__()
        self.names = names
        # In a tuple, it is no submodule.
        self._stock = (stock,)
        self.act_fn: nn.Module = stock.act_fn  # type: ignore[assignment]
        both, down = stock.get_parameter("gate_up_proj").data, stock.get_parameter("down_proj").data
        self.count, self.hidden, self.inner = down.shape
        for n in range(self.count):
            parts = (*torch.split(both[n], self.inner), down[n])
            linears = {name: _linear(part) for name, part in zip(names, parts, strict=True)}
            self.add_module(str(n), nn.ModuleDict(linears))

    @property
    def stock(self) -> nn.Module:
        """The module whose place this one has."""
        return self._stock[0]

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Sum over each token's experts, `[tokens, hidden]`, each times its weight `[tokens, k]`."""
        gate, up, down = self.names
        total = torch.zeros_like(hidden_states)
        for n in range(self.count):
            tokens, ranks = torch.where(top_k_index == n)
            if not len(tokens):
                continue
            expert: nn.Module = self.get_submodule(str(n))
            read = hidden_states[tokens]
            inner = self.act_fn(expert.get_submodule(gate)(read)) * expert.get_submodule(up)(read)
            weighed = expert.get_submodule(down)(inner) * top_k_weights[tokens, ranks, None]
            total.index_add_(0, tokens, weighed.to(total.dtype))
        return total


def _linear(weight: Tensor) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear


def unstack(model: nn.Module, model_type: str) -> None:
    """Give every expert of a mixture whose matrices are known linears of its own; in place."""
    if (names := MATRICES.get(model_type)) is None:
        return
    for path, module in list(model.named_modules()):
        if {"gate_up_proj", "down_proj"} <= module._parameters.keys():
            model.set_submodule(path, Experts(module, names))


def stacks(model: nn.Module) -> Iterator[tuple[str, Experts]]:
    """Path and module of the experts of every block that has some."""
    for path, module in model.named_modules():
        if isinstance(module, Experts):
            yield path, module


def stacked(model: nn.Module) -> frozenset[str]:
    """Names of the linears that the stock model holds in stacks."""
    return frozenset(
        name for path, experts in stacks(model) for matrix in experts.names for name in of(path, experts, matrix)
    )


def unknown(model: nn.Module) -> tuple[str, ...]:
    """Names of the 3-D parameters that are no known experts: stacks of another kind.

    A convolution's is none, and no token that is put before those of an image, `[1, tokens, hidden]`.
    """
    return tuple(
        f"{path}.{name}"
        for path, module in model.named_modules()
        if not isinstance(module, nn.Conv1d)
        for name, value in module.named_parameters(recurse=False)
        if value.dim() == 3 and len(value) > 1
    )


def of(path: str, experts: Experts, matrix: str) -> list[str]:
    """Names of one matrix of all experts, in their order."""
    return [f"{path}.{n}.{matrix}" for n in range(experts.count)]
