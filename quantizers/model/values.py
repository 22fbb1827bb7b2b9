"""Parameters of the skeleton with their values: modules made real one at a time."""

from __future__ import annotations

import copy

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
        whole[piece.place] = checkpoint.wide(piece.key)
    return whole
