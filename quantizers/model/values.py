"""Parameters of the skeleton with their values: modules made real one at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from quantizers.errors import QuantizeError
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.skeleton import Skeleton


def materialize(module: nn.Module, prefix: str, checkpoint: Checkpoint, skeleton: Skeleton) -> nn.Module:
    """A copy of a skeleton's module with its weights in float32; `prefix` is its path, weights included tied ones."""
    twin = copy.deepcopy(module)
    # A stand-in may answer for the module itself.
    vars(twin).pop("forward", None)
    for name, _ in list(twin.named_parameters()):
        owner, _, last = name.rpartition(".")
        value = nn.Parameter(value_of(f"{prefix}.{name}", checkpoint, skeleton), requires_grad=False)
        twin.get_submodule(owner)._parameters[last] = value
    for name in stored_buffers(twin, prefix, skeleton):
        owner, _, last = name.rpartition(".")
        twin.get_submodule(owner)._buffers[last] = _buffer(f"{prefix}.{name}", checkpoint, skeleton)
    return twin.eval()


def stored_buffers(module: nn.Module, prefix: str, skeleton: Skeleton) -> tuple[str, ...]:
    """Names, in a module at the path `prefix`, of the buffers that the checkpoint holds: they are not computed."""
    return tuple(
        name
        for name, _ in module.named_buffers()
        if skeleton.kept_as(f"{prefix}.{name}".lstrip(".")) in skeleton.source
    )


def _buffer(name: str, checkpoint: Checkpoint, skeleton: Skeleton) -> Tensor:
    value = checkpoint.whole(skeleton.source[skeleton.kept_as(name)])
    return value.float() if value.is_floating_point() else value


def value_of(name: str, checkpoint: Checkpoint, skeleton: Skeleton) -> Tensor:
    """A parameter of the model in float32, whatever the checkpoint calls it, and in however many pieces it is there."""
    if name not in skeleton.source and name not in skeleton.pieces:
        name = skeleton.tied.get(name, name)
    if name in skeleton.source:
        return checkpoint.wide(skeleton.source[name])
    if name not in skeleton.pieces:
        return _computed(name, checkpoint, skeleton)
    whole = torch.empty(skeleton.model.get_parameter(name).shape)
    for piece in skeleton.pieces[name]:
        whole[piece.index] = checkpoint.wide(piece.key)
    return whole


def _computed(name: str, checkpoint: Checkpoint, skeleton: Skeleton) -> Tensor:
    """A parameter that is not stored: transformers initializes it when it loads the model, and always alike (sinusoids)."""
    path, _, last = name.rpartition(".")
    values: list[Tensor] = []
    for seed in range(2):
        module = copy.deepcopy(skeleton.model.get_submodule(path)).to_empty(device="cpu", recurse=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            skeleton.model._init_weights(module)  # type: ignore[operator]
        values.append(module.get_parameter(last).data.float())
    if not torch.equal(*values):
        raise QuantizeError(
            f"{checkpoint.directory}: {name} is not stored, and transformers draws it at random when it loads the model. "
            "A recipe without transform and with nearest rounding needs no value of it."
        )
    return values[0]


def outside(skeleton: Skeleton, blocks: str, head: str) -> list[str]:
    """Names of all that is stored and neither in the block list at a module path nor the head's own."""
    return beside(skeleton, (blocks, head))


def beside(skeleton: Skeleton, modules: Sequence[str]) -> list[str]:
    """Names of all parameters, and buffers that are stored, that are in none of the modules at some paths."""
    inside = tuple(f"{path}." for path in modules)
    names = [name for name, _ in skeleton.model.named_parameters()]
    return [name for name in (*names, *stored_buffers(skeleton.model, "", skeleton)) if not name.startswith(inside)]


@contextmanager
def real(names: Sequence[str], checkpoint: Checkpoint, skeleton: Skeleton) -> Iterator[None]:
    """Give some parameters and buffers of the skeleton's model their values, in float32, for the length of a context."""
    before: list[tuple[dict[str, Any], str, Tensor | None]] = []
    for name in names:
        path, _, last = name.rpartition(".")
        owner = skeleton.model.get_submodule(path)
        if last in owner._parameters:
            before.append((owner._parameters, last, owner._parameters[last]))
            owner._parameters[last] = nn.Parameter(value_of(name, checkpoint, skeleton), requires_grad=False)
        else:
            before.append((owner._buffers, last, owner._buffers[last]))
            owner._buffers[last] = _buffer(name, checkpoint, skeleton)
    try:
        yield
    finally:
        for values, last, value in before:
            values[last] = value
