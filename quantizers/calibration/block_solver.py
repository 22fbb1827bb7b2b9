"""One block for one target: search the scales, fold them, round the linears, write all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from quantizers.artifact.target import FEW
from quantizers.calibration.moments import Moments
from quantizers.dtypes import Codes, dequantize, grid_of, grouped
from quantizers.families.family import Group
from quantizers.parts import RANGES
from quantizers.recipe import Recipe
from quantizers.rounding.compensated import compensated, damped, factorize
from quantizers.rounding.nearest import nearest
from quantizers.rounding.refine import refine
from quantizers.transforms.awq import search
from quantizers.transforms.fold import attainable, fold, in_features, let_go, weight_of
from quantizers.transforms.teq import train


class BlockSink(Protocol):
    """Who a block is solved for: a target that is written, or a measurement."""

    @property
    def recipe(self) -> Recipe:
        """The recipe of the whole."""

    @property
    def linears(self) -> Mapping[str, Recipe]:
        """The linears that are quantized, by full name, and the recipe of each."""

    @property
    def dtype(self) -> torch.dtype:
        """What the loader computes in."""

    @property
    def stored(self) -> torch.dtype:
        """What scales are stored in."""

    def keep_whole(self, name: str, tensor: Tensor) -> None:
        """Take a tensor that is not quantized."""

    def write(self, linear: str, q: Codes, whole: tuple[int, int]) -> None:
        """Take the codes of a linear of shape `whole`."""

    def round_nearest(self, linear: str, rows: Tensor, whole: tuple[int, int]) -> None:
        """Take a linear of shape `whole` that is to be rounded without regard to any text."""

    def measured(self, what: str, value: float) -> None:
        """Take a finding of the search."""


@dataclass(frozen=True)
class Finding:
    """The scale of one group of linears, float32 `[in]`, and what a record tells of it."""

    scale: Tensor
    measures: dict[str, float]


Findings = dict[tuple[object, ...], Finding]
"""By transform, linears, grid, group size and stored dtype: targets that agree in these share a search."""


def solve(
    target: BlockSink,
    block: nn.Module,
    prefix: str,
    groups: tuple[Group, ...],
    moments: list[Moments],
    check: Callable[[nn.Module], None],
    found: Findings,
    consume_inputs: bool = False,
) -> None:
    """Fold scales into `block`, round its linears and write its tensors.

    Args:
        target: open for writing.
        block: float32, on the CPU.
        prefix: the block's path in the model.
        groups: of the block's family, as far as the block has them.
        moments: of each group's input.
        check: raises unless the folded block computes what it did.
        found: scales that other targets' searches found for this block; those of this target's are added.
        consume_inputs: nobody reads block and moments afterwards: each weight and each moment is let go of once it was used.
    """
    scales: list[Tensor | None] = [None] * len(groups)
    if target.recipe.transform:
        for index, group in enumerate(groups):
            scales[index] = _scale(target, block, prefix, group, moments[index], found)
        for group, scale in zip(groups, scales, strict=True):
            if scale is not None:
                fold(block, group, scale)
        check(block)
    quantized = set()
    # The widest input takes the most room, and leaves it to the others.
    for place in sorted(range(len(groups)), key=lambda place: -in_features(block, groups[place])):
        group, scale, moment = groups[place], scales[place], moments[place]
        alike = _alike(target, prefix, group)
        for number, (recipe, names) in enumerate(alike, 1):
            last = consume_inputs and number == len(alike)
            if group.experts:
                _round_experts(target, recipe, block, prefix, names, moment, scale, last)
            else:
                _round(target, recipe, block, prefix, names, moment.pooled, scale, last)
            quantized |= {f"{name}.weight" for name in names}
        if consume_inputs:
            moment.let_go()
    for name, value in block.named_parameters():
        if name not in quantized:
            target.keep_whole(f"{prefix}.{name}", value)


def _alike(target: BlockSink, prefix: str, group: Group) -> list[tuple[Recipe, list[str]]]:
    """The quantized linears of a group, those of one recipe together, the fewest bits first."""
    found: dict[Recipe, list[str]] = {}
    for name in group.linears:
        if recipe := target.linears.get(f"{prefix}.{name}"):
            found.setdefault(recipe, []).append(name)
    return sorted(found.items(), key=lambda item: item[0].bits)


def _round_experts(
    target: BlockSink,
    recipe: Recipe,
    block: nn.Module,
    prefix: str,
    names: list[str],
    moments: Moments,
    folded: Tensor | None,
    consume_inputs: bool,
) -> None:
    """Round each expert by the tokens it read; to nearest where these are too few."""
    for reader, matrices in groupby(names, moments.reader):
        if moments.enough(reader):
            _round(target, recipe, block, prefix, list(matrices), moments.own[reader], folded, consume_inputs)
            continue
        for name in matrices:
            weight = weight_of(block, name)
            target.measured(f"{prefix}.{name}: {FEW}", moments.tokens[reader])
            target.round_nearest(f"{prefix}.{name}", weight, (weight.shape[0], weight.shape[1]))
            if consume_inputs:
                let_go(block, [name])


def _scale(
    target: BlockSink, block: nn.Module, prefix: str, group: Group, moments: Moments, found: Findings
) -> Tensor | None:
    alike = _alike(target, prefix, group)
    if not alike or group.absorber is None or (group.experts and not _all_read(target, prefix, group, moments)):
        return None
    # All linears of the group get one scale: those of the fewest bits, whose error is the largest, choose it.
    recipe, names = alike[0]
    place = (*names, recipe.dtype, recipe.symmetric, recipe.group_size, target.stored)
    transforms = ("awq", "teq") if target.recipe.transform == "teq" else ("awq",)
    for transform in transforms:
        if (transform, *place) not in found:
            start = found.get(("awq", *place))
            found[transform, *place] = _search(recipe, names, block, group, moments.pooled, target.stored, start)
        for what, value in found[transform, *place].measures.items():
            target.measured(f"{prefix} {names[0]}: {what}", value)
    return _representable(target, block, group, found[transforms[-1], *place].scale)


def _all_read(target: BlockSink, prefix: str, group: Group, moments: Moments) -> bool:
    """Whether all experts are quantized (of those that stay, a scale would round the weights once more) by enough text."""
    return moments.enough() and all(f"{prefix}.{name}" in target.linears for name in group.linears)


def _search(
    recipe: Recipe,
    names: list[str],
    block: nn.Module,
    group: Group,
    moment: Tensor,
    stored: torch.dtype,
    start: Finding | None,
) -> Finding:
    """Search a scale, or train on from the one that was searched."""
    grid = grid_of(recipe)
    weight = _stacked(block, names)
    size = recipe.group_size

    def fake(rows: Tensor) -> Tensor:
        scale, zero = RANGES["minmax"](grouped(rows, size), grid, stored)
        return dequantize(nearest(rows, scale, zero, grid, size), grid)

    def reachable(scale: Tensor) -> Tensor:
        return attainable(block, group, scale)

    if start is None:
        scale, exponent, ratio = search(weight, moment, fake, reachable)
        return Finding(scale, {"awq exponent": exponent, "awq error ratio": ratio})
    scale, ratio = train(weight, moment, fake, reachable, start.scale, size)
    return Finding(reachable(scale), {"teq error ratio": ratio})


def _representable(target: BlockSink, block: nn.Module, group: Group, scale: Tensor) -> Tensor:
    """The scale next to `scale` whose quotient the norm can store: what is folded then undoes itself exactly."""
    if group.kind not in ("norm", "norm_plus_one") or group.absorber is None:
        return scale
    shift = 1.0 if group.kind == "norm_plus_one" else 0.0
    weight = cast(Tensor, block.get_submodule(group.absorber).weight) + shift
    stored = (weight / scale - shift).to(target.dtype).float() + shift
    exact = weight / stored
    return torch.where(torch.isfinite(exact) & (exact > 0), exact, scale)


def _round(
    target: BlockSink,
    recipe: Recipe,
    block: nn.Module,
    prefix: str,
    names: list[str],
    moment: Tensor,
    folded: Tensor | None,
    consume_inputs: bool,
) -> None:
    shapes = [weight_of(block, name).shape for name in names]
    weight = _stacked(block, names)
    if consume_inputs:
        let_go(block, names)
    size, grid = recipe.group_size, grid_of(recipe)
    scale_in = torch.ones(len(moment)) if folded is None else folded
    importance = grouped((moment.diagonal() / scale_in.square())[None], size)[0]
    scale, zero = RANGES[recipe.range](grouped(weight, size), grid, target.stored, importance)
    if recipe.rounding == "nearest":
        q = nearest(weight, scale, zero, grid, size)
    elif recipe.range == "mse":
        q = compensated(weight, scale, zero, grid, size, factorize(moment, scale_in))
        q = refine(weight, q, grid, damped(moment if consume_inputs else moment.clone(), scale_in), target.stored)
    else:
        factor = factorize(moment, scale_in)
        if consume_inputs:
            moment.set_()  # type: ignore[call-overload]
        q = compensated(weight, scale, zero, grid, size, factor)
        del factor
    del weight
    start = 0
    for name, (outputs, inputs) in zip(names, shapes, strict=True):
        rows = slice(start, start + outputs)
        zeros = None if q.zero is None else q.zero[rows]
        target.write(f"{prefix}.{name}", Codes(q.codes[rows], q.scale[rows], zeros), (outputs, inputs))
        start += outputs


def _stacked(block: nn.Module, names: list[str]) -> Tensor:
    """The rows of all linears, `[out, in]`; of one alone, no copy."""
    weights = [weight_of(block, name) for name in names]
    return weights[0] if len(weights) == 1 else torch.cat(weights)
