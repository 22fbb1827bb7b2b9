"""The family of a model: from a table where there is one, found where there is none."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from catalog.foreign_errors import machine_fault
from catalog.progress import report
from quantizers.discovery.calls import family_by_calls, groups_of, kind_of
from quantizers.discovery.structure import TOKENS, Structure, block_calls, find_structure
from quantizers.errors import QuantizeError
from quantizers.families import FAMILIES, family_of
from quantizers.families.family import Family, Group, Stack
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.given import Given
from quantizers.model.skeleton import Skeleton, blocks_of
from quantizers.model.values import materialize
from quantizers.transforms.fold import hidden_states


def family_for(checkpoint: Checkpoint, skeleton: Skeleton, given: Given | None = None) -> Family:
    """Return what calibrating a model block by block needs to know of it.

    A found family is the same every time: all that is random in the search comes from fixed seeds.

    Args:
        given: rows that it is calibrated on, of which a model that reads more than text is run on the first.

    Raises:
        QuantizeError: no table is for the model, and it cannot be run on text, or on what it is given.
    """
    if given is not None and given.ids is None:
        with torch.no_grad():
            return family_by_calls(checkpoint, skeleton, given.first(1).tensors)
    if str(checkpoint.config.get("model_type")) in FAMILIES:
        with suppress(QuantizeError):  # a head that the table does not know, or cross-attention
            return family_of(checkpoint.config)
    return find_family(checkpoint, skeleton)


@torch.no_grad()
def find_family(checkpoint: Checkpoint, skeleton: Skeleton) -> Family:
    """Find a family without looking into any table: a chain of blocks, or else blocks as the model's own forward calls them.

    Raises:
        QuantizeError: the model cannot be run on text.
    """
    vocabulary = skeleton.vocabulary
    row = torch.randint(vocabulary, (1, TOKENS), generator=torch.Generator().manual_seed(0))
    try:
        return find_chain(checkpoint, skeleton, row)
    except QuantizeError:
        return family_by_calls(checkpoint, skeleton, {"input_ids": row})


@torch.no_grad()
def find_chain(checkpoint: Checkpoint, skeleton: Skeleton, row: Tensor) -> Family:
    """Find the family of a model that is a chain of blocks. Raises QuantizeError, saying why, when it is none.

    Args:
        row: int64 ids `[1, tokens]` to run.
    """
    structure = find_structure(checkpoint, skeleton)
    bare = _family(checkpoint, structure, ())
    calls = block_calls(checkpoint, skeleton, bare, row)
    kinds: dict[tuple[Any, ...], tuple[Group, ...]] = {}
    count = blocks_of(skeleton, structure.blocks)
    for number in range(count):
        path = f"{structure.blocks}.{number}"
        kind = kind_of(skeleton.model.get_submodule(path))
        if kind not in kinds:
            report(f"finding the groups of block {number + 1} of {count}", number, count)
            block = materialize(skeleton.model.get_submodule(path), path, checkpoint, skeleton)
            _takes_rows(path, block, structure.hidden, calls[number])
            kinds[kind] = groups_of(block, calls[number])
    return _family(checkpoint, structure, _merged(kinds))


def _takes_rows(path: str, block: nn.Module, hidden: str, call: dict[str, Any]) -> None:
    """Refuse a block that more rows cannot be given with the arguments that it has for one."""
    states = call[hidden].expand(3, -1, -1)
    try:
        shape = hidden_states(block(**{**call, hidden: states})).shape
    except Exception as error:
        raise machine_fault(error) or QuantizeError(
            f"{path} is called with one argument for each row ({error})"
        ) from error
    if shape != states.shape:
        raise QuantizeError(f"{path} returns {list(shape)} for {list(states.shape)}")


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
