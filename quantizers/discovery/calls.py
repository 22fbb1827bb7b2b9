"""The blocks of a model that is no chain: seen in one run of its own forward, one block in memory at a time.

A block is called with whatever its model gives it: states of another stack, of each layer, in another order of dimensions.
Its groups are found and proven with the arguments of its first call; all tensors that it returns or changes must stay.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from catalog.foreign_errors import machine_fault
from catalog.progress import report
from quantizers.discovery.forward import Tensors, block_paths, run_model
from quantizers.discovery.groups import find_groups, reading_together
from quantizers.discovery.probe import Probe, tensors_of
from quantizers.errors import QuantizeError
from quantizers.families.family import Called, Family, Group
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.skeleton import Skeleton
from quantizers.model.values import materialize

FEW = 24
"""Tokens of one stream that groups are found with, where a block takes so few."""


def family_by_calls(checkpoint: Checkpoint, skeleton: Skeleton, given: Tensors) -> Family:
    """Return the blocks in the order of their last calls, each with its groups.

    Args:
        given: one row to run, such as int64 ids `[1, tokens]` under `input_ids`.

    Raises:
        QuantizeError: the model cannot be run on that, or no block of it was.
    """
    paths = block_paths(skeleton.model)
    calls: dict[str, Called] = {}
    kinds: dict[tuple[Any, ...], tuple[Group, ...]] = {}

    def call(path: str, arguments: dict[str, Any]) -> Any:
        block = materialize(skeleton.model.get_submodule(path), path, checkpoint, skeleton)
        kind = (*kind_of(block), frozenset(name for name, value in arguments.items() if value is not None))
        if kind not in kinds:
            report(f"finding the groups of {path}", len(calls), len(paths))
            kinds[kind] = groups_of(block, arguments)
        before = calls.pop(path, None)
        calls[path] = Called(before.groups, before.times + 1) if before else Called(kinds[kind])
        return block(**arguments)

    run_model(checkpoint, skeleton, paths, given, call)
    shared = {name.rpartition(".")[0] for pair in skeleton.tied.items() for name in pair}
    # A block that shares weights with another cannot be written by itself.
    own = {path: each for path, each in calls.items() if not any(name.startswith(f"{path}.") for name in shared)}
    if not own:
        raise QuantizeError(
            f"model_type {skeleton.model.config.model_type}: no list of modules that hold linears is run. A recipe "
            "without transform and with nearest rounding takes any model."
        )
    return Family(skeleton.model.config.model_type, stacks=(), embeddings=(), head="", discovered=True, calls=own)


def groups_of(block: nn.Module, arguments: dict[str, Any]) -> tuple[Group, ...]:
    """The groups of a block by one call of it; without absorbers where its own code does not run in float64."""
    double = tree_map_only(Tensor, lambda value: value.double() if value.dtype == torch.float32 else value, arguments)
    # What holds for some tokens holds for all, and a sound is 1500: a block that takes no fewer raises, and is given all.
    few = tree_map_only(Tensor, lambda value: value[:, :FEW] if value.dim() == 3 else value, double)
    shorter = any(not torch.equal(a, b) for a, b in zip(tensors_of(few), tensors_of(double), strict=True))
    for tried in (few, double) if shorter else (double,):
        try:
            return find_groups(Probe(block, tried))
        except Exception as error:  # whatever the model's own code raises in float64
            if fault := machine_fault(error):
                raise fault from error
    return reading_together(Probe(block, arguments, double=False))


def kind_of(block: nn.Module) -> tuple[Any, ...]:
    """What tells the kinds of blocks apart: classes and shapes of all that is in them."""
    modules = tuple((name, type(module)) for name, module in block.named_modules())
    return modules, tuple((name, tuple(value.shape)) for name, value in block.named_parameters())
