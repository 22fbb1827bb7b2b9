"""One block for one target: search the scales, fold them, round the linears, write all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from quantizers.artifact.target import FEW
from quantizers.calibration.moments import Moments
from quantizers.dtypes import Codes, dequantize, grouped
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


@dataclass(frozen=True)
class BlockSolver:
    """One block as one target wants it: scales folded in, linears rounded, all tensors handed over."""

    sink: BlockSink
    """Open for writing."""
    block: nn.Module
    """float32, on the CPU; changed."""
    prefix: str
    """The block's path in the model."""
    groups: tuple[Group, ...]
    """Of the block's family, as far as the block has them."""
    moments: list[Moments]
    """Of each group's input."""
    findings: Findings = field(default_factory=dict)
    """Scales that other targets' searches found for this block; those of this target's are added."""
    consume_inputs: bool = False
    """Nobody reads block and moments afterwards: each weight and each moment is let go of once it was used."""

    def solve(self, check: Callable[[nn.Module], None]) -> None:
        """Fold scales into the block, round its linears and write its tensors.

        Args:
            check: raises unless the folded block computes what it did.
        """
        scales = self._fold_scales(check) if self.sink.recipe.transform else [None] * len(self.groups)
        quantized: set[str] = set()
        # The widest input takes the most room, and leaves it to the others.
        for index in sorted(range(len(self.groups)), key=lambda index: -in_features(self.block, self.groups[index])):
            quantized |= self._round_group(self.groups[index], self.moments[index], scales[index])
        for name, value in self.block.named_parameters():
            linear = name.removesuffix(".weight")
            if name in quantized:
                continue
            if f"{self.prefix}.{linear}" in self.sink.linears:
                weight = weight_of(self.block, linear)
                self.sink.measured(f"{self.prefix}.{linear}: {FEW}", 0)
                self.sink.round_nearest(
                    f"{self.prefix}.{linear}", weight.contiguous(), (weight.shape[0], weight.shape[1])
                )
            else:
                self.sink.keep_whole(f"{self.prefix}.{name}", value)

    def _fold_scales(self, check: Callable[[nn.Module], None]) -> list[Tensor | None]:
        scales = [self._scale(group, moments) for group, moments in zip(self.groups, self.moments, strict=True)]
        for group, scale in zip(self.groups, scales, strict=True):
            if scale is not None:
                fold(self.block, group, scale)
        check(self.block)
        return scales

    def _round_group(self, group: Group, moments: Moments, scale: Tensor | None) -> set[str]:
        """Round the quantized linears of a group; return the names of their weights."""
        alike = self._alike(group)
        for number, (recipe, names) in enumerate(alike, 1):
            consume = self.consume_inputs and number == len(alike)
            if moments.scarce:
                self._round_scarce(recipe, names, moments, scale, consume)
            else:
                self._round(recipe, names, moments.pooled, scale, consume)
        if self.consume_inputs:
            moments.let_go()
        return {f"{name}.weight" for _, names in alike for name in names}

    def _alike(self, group: Group) -> list[tuple[Recipe, list[str]]]:
        """The quantized linears of a group, those of one recipe together, the fewest bits first."""
        by_recipe: dict[Recipe, list[str]] = {}
        for name in group.linears:
            if recipe := self.sink.linears.get(f"{self.prefix}.{name}"):
                by_recipe.setdefault(recipe, []).append(name)
        return sorted(by_recipe.items(), key=lambda item: item[0].bits)

    def _round_scarce(
        self, recipe: Recipe, names: list[str], moments: Moments, folded: Tensor | None, consume: bool
    ) -> None:
        """Round each expert, or a dense group, by the tokens it read; to nearest where these are too few."""
        for reader, matrices in groupby(names, moments.reader):
            if moments.enough(reader):
                self._round(recipe, list(matrices), moments.own[reader], folded, consume)
                continue
            for name in matrices:
                weight = weight_of(self.block, name)
                self.sink.measured(f"{self.prefix}.{name}: {FEW}", moments.tokens[reader])
                self.sink.round_nearest(f"{self.prefix}.{name}", weight, (weight.shape[0], weight.shape[1]))
                if consume:
                    let_go(self.block, [name])

    def _scale(self, group: Group, moments: Moments) -> Tensor | None:
        """The scale of a group's input, float32 `[in]`; None where nothing absorbs its inverse or nothing is quantized."""
        alike = self._alike(group)
        if not alike or group.absorber is None or (moments.scarce and not moments.enough()):
            return None
        if group.experts and not self._all_quantized(group):
            return None
        # All linears of the group get one scale: those of the fewest bits, whose error is the largest, choose it.
        recipe, names = alike[0]
        shared = (*names, recipe.dtype, recipe.symmetric, recipe.group_size, self.sink.stored)
        transforms = ("awq", "teq") if self.sink.recipe.transform == "teq" else ("awq",)
        for transform in transforms:
            if (transform, *shared) not in self.findings:
                start = self.findings.get(("awq", *shared))
                self.findings[transform, *shared] = self._search(recipe, names, group, moments.pooled, start)
            for what, value in self.findings[transform, *shared].measures.items():
                self.sink.measured(f"{self.prefix} {names[0]}: {what}", value)
        return self._representable(group, self.findings[transforms[-1], *shared].scale)

    def _all_quantized(self, group: Group) -> bool:
        """Whether all experts are quantized: of those that stay, a scale would round the weights once more."""
        return all(f"{self.prefix}.{name}" in self.sink.linears for name in group.linears)

    def _search(self, recipe: Recipe, names: list[str], group: Group, moment: Tensor, start: Finding | None) -> Finding:
        """Search a scale, or train on from the one that was searched."""
        grid = recipe.grid
        weight = _stacked(self.block, names)
        size = recipe.group_size

        def fake(rows: Tensor) -> Tensor:
            scale, zero = RANGES["minmax"](grouped(rows, size), grid, self.sink.stored)
            return dequantize(nearest(rows, scale, zero, grid, size), grid)

        def reachable(scale: Tensor) -> Tensor:
            return attainable(self.block, group, scale)

        if start is None:
            scale, exponent, ratio = search(weight, moment, fake, reachable)
            return Finding(scale, {"awq exponent": exponent, "awq error ratio": ratio})
        scale, ratio = train(weight, moment, fake, reachable, start.scale, size)
        return Finding(reachable(scale), {"teq error ratio": ratio})

    def _representable(self, group: Group, scale: Tensor) -> Tensor:
        """The scale next to `scale` whose quotient the norm can store: what is folded then undoes itself exactly."""
        if group.kind not in ("norm", "norm_plus_one") or group.absorber is None:
            return scale
        shift = 1.0 if group.kind == "norm_plus_one" else 0.0
        weight = cast(Tensor, self.block.get_submodule(group.absorber).weight) + shift
        stored = (weight / scale - shift).to(self.sink.dtype).float() + shift
        exact = weight / stored
        return torch.where(torch.isfinite(exact) & (exact > 0), exact, scale)

    def _round(self, recipe: Recipe, names: list[str], moment: Tensor, folded: Tensor | None, consume: bool) -> None:
        """Round linears that read the same input, their rows stacked, and write each."""
        shapes = [weight_of(self.block, name).shape for name in names]
        weight = _stacked(self.block, names)
        if consume:
            let_go(self.block, names)
        size, grid = recipe.group_size, recipe.grid
        scale_in = torch.ones(len(moment)) if folded is None else folded
        importance = grouped((moment.diagonal() / scale_in.square())[None], size)[0]
        scale, zero = RANGES[recipe.range](grouped(weight, size), grid, self.sink.stored, importance)
        if recipe.rounding == "nearest":
            q = nearest(weight, scale, zero, grid, size)
        elif recipe.range == "mse":
            q = compensated(weight, scale, zero, grid, size, factorize(moment, scale_in))
            q = refine(weight, q, grid, damped(moment if consume else moment.clone(), scale_in), self.sink.stored)
        else:
            factor = factorize(moment, scale_in)
            if consume:
                moment.set_()  # type: ignore[call-overload]
            q = compensated(weight, scale, zero, grid, size, factor)
            del factor
        del weight
        start = 0
        for name, (outputs, inputs) in zip(names, shapes, strict=True):
            rows = slice(start, start + outputs)
            zeros = None if q.zero is None else q.zero[rows]
            self.sink.write(f"{self.prefix}.{name}", Codes(q.codes[rows], q.scale[rows], zeros), (outputs, inputs))
            start += outputs


def _stacked(block: nn.Module, names: list[str]) -> Tensor:
    """The rows of all linears, `[out, in]`; of one alone, no copy."""
    weights = [weight_of(block, name) for name in names]
    return weights[0] if len(weights) == 1 else torch.cat(weights)
