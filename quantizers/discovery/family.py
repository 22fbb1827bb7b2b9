"""The family of a model: from a table where there is one, found where there is none."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from catalog.foreign_errors import machine_fault
from quantizers.discovery.groups import find_groups
from quantizers.discovery.probe import Probe
from quantizers.discovery.structure import TOKENS, Structure, block_calls, find_structure
from quantizers.errors import QuantizeError
from quantizers.families import FAMILIES, family_of
from quantizers.families.family import Family, Group, Stack
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.skeleton import Skeleton, blocks_of
from quantizers.model.values import materialize
from quantizers.progress import progress


def family_for(checkpoint: Checkpoint, skeleton: Skeleton) -> Family:
    """Return what calibrating a model block by block needs to know of it.

    A found family is the same every time: all that is random in the search comes from fixed seeds.

    Raises:
        QuantizeError: the model type has no table, and the model is no chain of blocks.
    """
    if str(checkpoint.config.get("model_type")) in FAMILIES:
        return family_of(checkpoint.config)
    return find_family(checkpoint, skeleton)


@torch.no_grad()
def find_family(checkpoint: Checkpoint, skeleton: Skeleton) -> Family:
    """Find a family without looking into any table. Raises QuantizeError when the model is no chain of blocks."""
    structure = find_structure(checkpoint, skeleton)
    bare = _family(checkpoint, structure, ())
    vocabulary = skeleton.model.get_input_embeddings().num_embeddings
    row = torch.randint(vocabulary, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    calls = block_calls(checkpoint, skeleton, bare, row)
    kinds: dict[tuple[Any, ...], tuple[Group, ...]] = {}
    count = blocks_of(skeleton, structure.blocks)
    for number in range(count):
        path = f"{structure.blocks}.{number}"
        kind = _kind(skeleton.model.get_submodule(path))
        if kind not in kinds:
            progress(f"finding the groups of block {number + 1} of {count}", number, count)
            block = materialize(skeleton.model.get_submodule(path), path, checkpoint, skeleton)
            kinds[kind] = _groups(
                path, block, {**calls[number], structure.hidden: calls[number][structure.hidden].double()}
            )
    return _family(checkpoint, structure, _merged(kinds))


def _groups(path: str, block: nn.Module, call: dict[str, Any]) -> tuple[Group, ...]:
    try:
        return find_groups(Probe(block, call))
    except Exception as error:  # whatever the model's own code raises in float64
        raise machine_fault(error) or QuantizeError(
            f"{path}: the block cannot be run on its own ({type(error).__name__}: {error}). A recipe without transform and "
            "with nearest rounding takes any model."
        ) from error


def _kind(block: nn.Module) -> tuple[Any, ...]:
    """What tells the kinds of blocks apart: classes and shapes of all that is in them."""
    modules = tuple((name, type(module)) for name, module in block.named_modules())
    return modules, tuple((name, tuple(value.shape)) for name, value in block.named_parameters())


def _merged(kinds: dict[tuple[Any, ...], tuple[Group, ...]]) -> tuple[Group, ...]:
    """The groups of all kinds of blocks; where two kinds differ about the same linears, nothing absorbs for these.

    Experts that all tokens of one block reach are experts still: in another they may read too few.
    """
    merged: dict[tuple[str, ...], Group] = {}
    for groups in kinds.values():
        for group in groups:
            before = merged.setdefault(group.linears, group)
            if before != group:
                merged[group.linears] = Group(group.linears, experts=before.experts or group.experts)
    return tuple(merged.values())


def _family(checkpoint: Checkpoint, structure: Structure, groups: tuple[Group, ...]) -> Family:
    return Family(
        model_type=str(checkpoint.config.get("model_type")),
        stacks=(Stack(structure.blocks, groups, structure.final_norm, hidden=structure.hidden),),
        embeddings=structure.embeddings,
        head=structure.head,
        before_head=structure.before_head,
        discovered=True,
    )
