"""Parameters of the skeleton with their values: modules made real one at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from quantizers.model.checkpoint import Checkpoint
from quantizers.model.skeleton import Skeleton


def materialize(module: nn.Module, prefix: str, checkpoint: Checkpoint, skeleton: Skeleton) -> nn.Module:
    """A copy of a skeleton's module with its weights in float32; `prefix` is its path, weights included tied ones."""
    twin = copy.deepcopy(module)
    for name, _ in list(twin.named_parameters()):
        owner, _, last = name.rpartition(".")
        value = nn.Parameter(value_of(f"{prefix}.{name}", checkpoint, skeleton), requires_grad=False)
        twin.get_submodule(owner)._parameters[last] = value
    return twin.eval()


def value_of(name: str, checkpoint: Checkpoint, skeleton: Skeleton) -> Tensor:
    """A parameter of the model in float32, whatever the checkpoint calls it, and in however many pieces it is there."""
    if name not in skeleton.pieces:
        key = skeleton.source.get(name) or skeleton.source[skeleton.tied[name]]
        return checkpoint.wide(key)
    whole = torch.empty(skeleton.model.get_parameter(name).shape)
    for piece in skeleton.pieces[name]:
        whole[piece.index] = checkpoint.wide(piece.key)
    return whole


def outside(skeleton: Skeleton, blocks: str, head: str) -> list[str]:
    """Names of all parameters that are neither in the block list at a module path nor the head's own."""
    return [name for name, _ in skeleton.model.named_parameters() if not name.startswith((f"{blocks}.", f"{head}."))]


@contextmanager
def real(names: Sequence[str], checkpoint: Checkpoint, skeleton: Skeleton) -> Iterator[None]:
    """Give some parameters of the skeleton's model their values, in float32, for the length of a context."""
    before = []
    for name in names:
        path, _, last = name.rpartition(".")
        owner = skeleton.model.get_submodule(path)
        before.append((owner, last, owner._parameters[last]))
        owner._parameters[last] = nn.Parameter(value_of(name, checkpoint, skeleton), requires_grad=False)
    try:
        yield
    finally:
        for owner, last, parameter in before:
            owner._parameters[last] = parameter
