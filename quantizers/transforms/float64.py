"""A float32 block computed in float64, without a float64 copy of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_any, tree_map

ROWS = 1024
"""Rows of a linear's weight that are widened at a time."""


class Double(TorchFunctionMode):
    """Widen to float64 whatever meets a float64 tensor, for the length of one call; a cast to float32 stays float64.

    Float32 noise hides an error of 1e-5 in a block with massive activations; a call on float64 hidden states in this
    context has none of it. Views and slices of weights meet no hidden state and stay as they are.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not tree_any(_is_double, (args, kwargs)):
            return func(*args, **kwargs)
        if func is functional.linear:
            return _linear(*args, **kwargs)
        args, kwargs = tree_map(_widened, (args, kwargs))
        return (Tensor.double if func is Tensor.float else func)(*args, **kwargs)


def _is_double(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float64


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype == torch.float32:
        return value.double()
    return torch.float64 if value is torch.float32 else value


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rows = torch.cat([functional.linear(input.double(), part.double()) for part in torch.split(weight, ROWS)], -1)
    return rows if bias is None else rows + bias.double()
