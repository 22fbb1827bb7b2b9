"""Equivalent scaling, folded into the network: the block computes what it did, with other weights.

For a positive scale s on the shared input x of some linears, W x = (W diag(s)) (diag(1/s) x): the linears' columns are
multiplied by s, and what produces x divides its output by s (SmoothQuant, arXiv:2211.10438; AWQ, arXiv:2306.00978).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from quantizers.errors import QuantizeError
from quantizers.families.family import Group


def weight_of(block: nn.Module, name: str) -> Tensor:
    """Weight of `name` (see `Group`) as a view [out, in]: transposed for transformers' Conv1D."""
    owner = block.get_submodule(name)
    weight: Tensor = owner.weight.data  # type: ignore[assignment]
    return weight.T if type(owner).__name__ == "Conv1D" else weight


def let_go(block: nn.Module, names: Iterable[str]) -> None:
    """Empty the weights of some linears."""
    for name in names:
        owner = block.get_submodule(name)
        owner.weight.data = torch.empty(0)  # type: ignore[union-attr]


def in_features(block: nn.Module, group: Group) -> int:
    """Channels of the group's shared input."""
    return weight_of(block, group.linears[0]).shape[1]


def present(block: nn.Module, groups: tuple[Group, ...]) -> tuple[Group, ...]:
    """The groups whose linears the block has: some blocks of a stack may be dense and others mixtures."""
    names = {name.removesuffix(".weight") for name, _ in block.named_parameters()}
    here = [group for group in groups if names.issuperset(group.linears)]
    # Another kind of block may have but a part of the linears of a group.
    return tuple(group for group in here if not any(set(group.linears) < set(other.linears) for other in here))


def _rows(block: nn.Module, group: Group) -> Tensor:
    """int64 [in]: row of the linear absorber that feeds each input channel."""
    channels = in_features(block, group)
    return torch.tensor(group.rows.of(channels) if group.rows else range(channels))


def attainable(block: nn.Module, group: Group, scale: Tensor) -> Tensor:
    """The scale nearest to `scale` [..., in] (geometric mean) that the group's absorber can express.

    Channels fed by the same row of the absorber (query heads that share a value head) get one scale; any other
    scale is returned unchanged, and ones when nothing absorbs.
    """
    if group.kind == "none":
        return torch.ones_like(scale)
    if group.rows is None or group.rows.repeats == 1:
        return scale
    rows = _rows(block, group)
    logs = scale.log().double()
    sums = torch.zeros(*logs.shape[:-1], int(rows.max()) + 1, dtype=logs.dtype).index_add_(-1, rows, logs)
    counts = torch.bincount(rows).clamp(min=1)
    return (sums / counts).exp().to(scale.dtype)[..., rows]


def _divide_norm(norm: nn.Module, kind: str, scale: Tensor) -> None:
    weight: Tensor = norm.weight.data  # type: ignore[assignment]
    folded = (1.0 + weight.float()) / scale - 1.0 if kind == "norm_plus_one" else weight.float() / scale
    weight.copy_(folded)
    bias = getattr(norm, "bias", None)
    if bias is not None:
        bias.data.copy_(bias.data.float() / scale)


def _divide_linear(block: nn.Module, group: Group, scale: Tensor) -> None:
    assert group.absorber is not None
    rows = _rows(block, group)
    weight = weight_of(block, group.absorber)
    factor = torch.ones(len(weight))
    factor[rows] = scale
    if not torch.equal(factor[rows], scale):
        raise QuantizeError(
            f"{group.linears}: channels fed by one row of {group.absorber} have different scales; "
            "pass the scale through `attainable` first."
        )
    weight.copy_(weight.float() / factor[:, None])
    bias = getattr(block.get_submodule(group.absorber), "bias", None)
    if bias is not None:
        bias.data.copy_(bias.data.float() / factor)


@torch.no_grad()
def fold(block: nn.Module, group: Group, scale: Tensor) -> None:
    """Multiply the group's input columns by `scale`, divide its absorber's output by it; in place.

    Args:
        block: holds the group's modules, with weights on the CPU.
        group: one of the block's groups, with an absorber.
        scale: float [in], positive.

    Raises:
        QuantizeError: nothing absorbs, the scale is not positive and finite, or not attainable.
    """
    if group.absorber is None:
        raise QuantizeError(f"{group.linears}: nothing in the block can absorb a scale on their input.")
    if not bool((torch.isfinite(scale) & (scale > 0)).all()):
        raise QuantizeError(f"{group.linears}: a scale is zero, negative or not finite; the calibration is degenerate.")
    scale = scale.float()
    if group.kind == "linear":
        _divide_linear(block, group, scale)
    else:
        _divide_norm(block.get_submodule(group.absorber), group.kind, scale)
    for name in (*group.linears, *group.followers):
        weight = weight_of(block, name)
        weight.copy_(weight.float() * scale)


def bind(block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call of `block` by keyword, whatever way its model passes them."""
    bound = inspect.signature(type(block).forward.__get__(block)).bind(*args, **kwargs)
    variable = next((p.name for p in bound.signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")
    return {**bound.arguments.pop(variable, {}), **bound.arguments}


def copied(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments to run a block with more than once: tensors as they are, what it might change as copies."""
    return {name: value if isinstance(value, Tensor) else copy.deepcopy(value) for name, value in arguments.items()}


def hidden_states(output: Any) -> Tensor:
    """Hidden states of a block's output: the tensor itself, or the first of a tuple or of an output by name."""
    states: Tensor = output if isinstance(output, Tensor) else output[0]
    return states


@torch.no_grad()
def check_fold(block: nn.Module, before: Tensor, inputs: Mapping[str, Any], tolerance: float = 1e-5) -> float:
    """Check that a folded block still computes what it did.

    Args:
        block: the folded block, in float32 (bf16 cannot show an error of 1e-5; see also `Double`).
        before: hidden states [batch, tokens, hidden] that it returned for `inputs` before any fold.
        inputs: keyword arguments of the block, as `bind` gives them.
        tolerance: largest allowed norm of a token's error over the norm of the token.

    Returns:
        The largest relative error of a token. Taken per token, so that a few massive activations hide nothing.

    Raises:
        QuantizeError: the error is above `tolerance` or not finite.
    """
    after = hidden_states(block(**inputs))
    error = float(((after - before).norm(dim=-1) / before.norm(dim=-1).clamp(min=1e-30)).max())
    if not error <= tolerance:
        raise QuantizeError(
            f"{type(block).__name__}: after folding, the block's output is off by {error:.1e} of its size (allowed "
            f"{tolerance:.0e}). The family table does not describe this model: a reader of a scaled input is missing "
            "from its group, or the absorber is wrong. Use a recipe without transform until the table is mended."
        )
    return error
