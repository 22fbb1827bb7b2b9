"""What each dtype does to each group of linears that share an input: bytes, and divergence of the model's output.

One pass, one block in memory. For every group a stream of hidden states in which that group alone was rounded, to the
narrowest dtype, is carried through the rest of the model to the logits; its divergence is shared among the dtypes in
proportion to the squared change each makes to the block's output, for small changes of the logits are damage in their
square. In a deep model one stream a block has to do, and its divergence is shared among the block's groups, too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from catalog.dtypes import DTYPES
from catalog.progress import report
from quantizers.artifact.target import prepare
from quantizers.calibration.activations import Activations
from quantizers.calibration.block_pass import advance
from quantizers.calibration.block_solver import BlockSolver
from quantizers.calibration.blocks import Blocks, first_inputs
from quantizers.calibration.moments import Moments
from quantizers.calibration.solving import within
from quantizers.calibration.text import read_rows
from quantizers.discovery.family import family_for
from quantizers.dtypes import Codes, dequantize, grouped
from quantizers.errors import QuantizeError
from quantizers.families.family import Group
from quantizers.hardware.device import compute
from quantizers.hardware.threads import one_thread_each
from quantizers.model.checkpoint import open_checkpoint
from quantizers.model.skeleton import Skeleton, build
from quantizers.model.values import materialize
from quantizers.parts import RANGES
from quantizers.recipe import Recipe
from quantizers.request import GroupCost, SensitivityRequest
from quantizers.rounding.nearest import nearest
from quantizers.sensitivity.divergence import divergences
from quantizers.transforms.fold import present, weight_of

PROBE_TOKENS = 2048
"""Tokens the divergence is measured on, whole rows, one at the least."""
STREAMS = 48
"""Streams carried at the most, unless the model has more blocks than that: with more groups, one a block."""
HEADER_BYTES = 256
"""Room that the header of a weight file takes for one tensor, at the most."""


@dataclass
class Rounded:
    """What a block's linears become in one dtype; takes what `solve` hands out."""

    recipe: Recipe
    linears: dict[str, Recipe]
    dtype: torch.dtype
    stored: torch.dtype
    dense: dict[str, Tensor] = field(default_factory=dict)
    """Weights as the loader computes with them, float32 `[out, in]`, by full name; of the block at hand."""

    def keep_whole(self, name: str, tensor: Tensor) -> None:
        """Leave a tensor as it is."""

    def write(self, linear: str, q: Codes, whole: tuple[int, int]) -> None:
        """Take the codes of a linear."""
        self.dense[linear] = dequantize(q, self.linears[linear].grid).to(self.dtype).float()

    def round_nearest(self, linear: str, rows: Tensor, whole: tuple[int, int]) -> None:
        """Round a float32 `[out, in]` linear to nearest."""
        recipe, grid = self.linears[linear], self.linears[linear].grid
        scale, zero = RANGES[recipe.range](grouped(rows, recipe.group_size), grid, self.stored)
        self.write(linear, nearest(rows, scale, zero, grid, recipe.group_size), whole)

    def measured(self, what: str, value: float) -> None:
        """Pass over a finding of the search."""


@dataclass
class Damage:
    """What one block's groups do, from the block's output on."""

    groups: tuple[tuple[Group, ...], ...]
    """Those with linears that the recipe quantizes; together, those that share a dtype."""
    change: dict[tuple[int, str], float] = field(default_factory=dict)
    """By place in `groups` and dtype: squared change of the block's output, summed."""
    streams: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """By stream: places of the groups that were rounded in it."""


def measure(request: SensitivityRequest, work: Path) -> tuple[tuple[GroupCost, ...], tuple[str, ...], int, int]:
    """Groups with bytes and divergence by dtype, fixed linears, bytes of the rest, and tokens that were probed.

    Raises:
        QuantizeError: the model, the recipe or the text is at fault.
    """
    with torch.no_grad(), one_thread_each():
        return _measure(request, work)


def _measure(request: SensitivityRequest, work: Path) -> tuple[tuple[GroupCost, ...], tuple[str, ...], int, int]:
    checkpoint = open_checkpoint(request.model)
    skeleton = build(checkpoint, request.task)
    family = family_for(checkpoint, skeleton)
    if len(family.stacks) != 1:
        raise QuantizeError(
            f"model_type {family.model_type} is no single chain of blocks, and a search among dtypes takes no other models. "
            "Give a recipe with overrides, or a ladder."
        )
    dtypes: list[str] = sorted(request.dtypes, key=lambda name: DTYPES[name].bits)
    targets = {
        dtype: prepare("auto", request.recipe.model_copy(update={"dtype": dtype}), skeleton, checkpoint, work)
        for dtype in dtypes
    }
    takers = {d: Rounded(t.recipe, t.linears, t.dtype, t.stored) for d, t in targets.items()}
    probe, rest = _rows(request, skeleton)
    hidden, calibration = Activations(work / "probe", None), Activations(work / "stream", request.memory_bytes)
    blocks = first_inputs(checkpoint, skeleton, family, 0, probe, hidden, None)
    if request.recipe.calibrated:
        first_inputs(checkpoint, skeleton, family, 0, rest, calibration, None)
    streams = Activations(work / "streams", request.memory_bytes)
    one = torch.cat(list(hidden))
    damages, on = [], compute(request)
    for index in range(blocks.count):
        report(f"sensitivity of block {index + 1} of {blocks.count}", index, blocks.count + 1)
        prefix = f"{blocks.stack.path}.{index}"
        module = materialize(skeleton.model.get_submodule(prefix), prefix, checkpoint, skeleton)
        groups = present(module, blocks.stack.groups)
        quantized = within(prefix, takers[dtypes[0]].linears)
        moments = advance(module, index, blocks, groups, calibration, on, quantized) if len(calibration) else None
        for number in range(len(streams)):
            streams[number] = blocks.forward_rows(module, index, streams[number])
        block = _Block(index, prefix, module, groups, moments)
        damage, one = _damage(block, blocks, takers, one, streams)
        damages.append(damage)
        del block, module, moments
    report("divergence", blocks.count, blocks.count + 1)
    kld = divergences(checkpoint, skeleton, family, one, streams)
    bytes_of = {dtype: {name: slot.bytes for name, slot in target.slots.items()} for dtype, target in targets.items()}
    linears = targets[dtypes[0]].linears
    choices = tuple(_choices(damages, blocks, kld, linears, bytes_of))
    chosen = {name for choice in choices for name in choice.linears}
    own = prepare("auto", request.recipe, skeleton, checkpoint, work).slots
    others = [slot.bytes for name, slot in own.items() if name.rpartition(".")[0] not in chosen]
    fixed = tuple(name for name in linears if name not in chosen)
    return choices, fixed, sum(others) + HEADER_BYTES * len(own), probe.numel()


def _rows(request: SensitivityRequest, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Rows to probe and rows to calibrate on, int64 `[rows, tokens]`: what a recipe was fitted to shows less damage."""
    vocabulary = skeleton.vocabulary
    rows = read_rows(request.calibration, request.model, vocabulary)
    if not request.recipe.calibrated:
        return rows[: max(1, PROBE_TOKENS // rows.shape[1])], rows[:0]
    if len(rows) < 2:
        raise QuantizeError(
            f"{request.calibration.documents}: one row of {rows.shape[1]} tokens. A search among dtypes calibrates on "
            "some rows and measures on others: give more text, or fewer tokens per row."
        )
    probes = min(max(1, PROBE_TOKENS // rows.shape[1]), len(rows) // 2)
    return rows[:probes], rows[probes:]


@dataclass(frozen=True)
class _Block:
    """One block in memory."""

    index: int
    prefix: str
    module: nn.Module
    groups: tuple[Group, ...]
    moments: list[Moments] | None
    """Of each group's input; None for recipes that read no text."""


def _damage(
    block: _Block, blocks: Blocks, takers: dict[str, Rounded], before: Tensor, streams: Activations
) -> tuple[Damage, Tensor]:
    """What rounding does to one block's output, and that output, `[rows, tokens, hidden]`; adds streams."""
    prefix, groups = block.prefix, block.groups
    after = blocks.forward_rows(block.module, block.index, before)
    linears = next(iter(takers.values())).linears
    chosen = _together(tuple(g for g in groups if any(f"{prefix}.{name}" in linears for name in g.linears)))
    damage = Damage(chosen)
    narrowest = next(iter(takers))
    separate = blocks.count * len(chosen) <= STREAMS
    for dtype, taker in takers.items():
        twin = _rounded(taker, block)
        for position, together in enumerate(chosen):
            with _placed(twin, prefix, taker.dense, together):
                output = blocks.forward_rows(twin, block.index, before)
            damage.change[position, dtype] = float((output - after).double().square().sum())
            if dtype == narrowest and separate:
                damage.streams[len(streams)] = (position,)
                streams[len(streams)] = output
        if dtype == narrowest and chosen and not separate:
            with _placed(twin, prefix, taker.dense, tuple(chain(*chosen))):
                output = blocks.forward_rows(twin, block.index, before)
            damage.streams[len(streams)] = tuple(range(len(chosen)))
            streams[len(streams)] = output
        taker.dense.clear()
    return damage, after


def _together(groups: tuple[Group, ...]) -> tuple[tuple[Group, ...], ...]:
    """Each group by itself, but those of an expert each: OpenVINO has one matrix of all experts in one tensor."""
    by_matrices: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        matrices = sorted({name.rpartition(".")[2] for name in group.linears}) if group.experts else group.linears
        by_matrices.setdefault(tuple(matrices), []).append(group)
    return tuple(map(tuple, by_matrices.values()))


def _rounded(taker: Rounded, block: _Block) -> nn.Module:
    """Fill `taker.dense`; the block that these weights belong to, its scales folded and its linears not yet rounded."""
    if block.moments is not None:
        twin = copy.deepcopy(block.module) if taker.recipe.transform else block.module
        # The fold is checked when the artifact is made.
        BlockSolver(taker, twin, block.prefix, block.groups, block.moments).solve(check=lambda folded: None)
        return twin
    for name in (name for group in block.groups for name in group.linears):
        if f"{block.prefix}.{name}" in taker.linears:
            weight = weight_of(block.module, name)
            taker.round_nearest(f"{block.prefix}.{name}", weight, (weight.shape[0], weight.shape[1]))
    return block.module


@contextmanager
def _placed(block: nn.Module, prefix: str, dense: dict[str, Tensor], groups: tuple[Group, ...]) -> Iterator[None]:
    """The block with the linears of some groups rounded."""
    names = [name for group in groups for name in group.linears if f"{prefix}.{name}" in dense]
    kept = {name: weight_of(block, name).clone() for name in names}
    for name in names:
        weight_of(block, name).copy_(dense[f"{prefix}.{name}"])
    try:
        yield
    finally:
        for name, weight in kept.items():
            weight_of(block, name).copy_(weight)


def _choices(
    damages: list[Damage],
    blocks: Blocks,
    kld: list[float],
    linears: dict[str, Recipe],
    bytes_of: dict[str, dict[str, int]],
) -> Iterator[GroupCost]:
    narrowest = next(iter(bytes_of))
    for index, damage in enumerate(damages):
        for number, positions in damage.streams.items():
            whole = sum(damage.change[position, narrowest] for position in positions) or 1.0
            for position in positions:
                path = f"{blocks.stack.path}.{index}"
                members = (f"{path}.{name}" for group in damage.groups[position] for name in group.linears)
                names = tuple(name for name in members if name in linears)
                yield GroupCost(
                    linears=names,
                    bytes={
                        dtype: sum(size for name, size in sizes.items() if name.rpartition(".")[0] in names)
                        for dtype, sizes in bytes_of.items()
                    },
                    kld={dtype: kld[number] * damage.change[position, dtype] / whole for dtype in bytes_of},
                )
