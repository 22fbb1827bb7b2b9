"""One block for one target: search the scales, fold them, round the linears, write all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from quantizers.dtypes import Codes, dequantize, grouped
from quantizers.families.family import Group
from quantizers.families.fold import attainable, fold, weight_of
from quantizers.parts import RANGES
from quantizers.rounding.compensated import compensated, damped, factorize
from quantizers.rounding.nearest import nearest
from quantizers.rounding.refine import refine
from quantizers.target import Target
from quantizers.transforms.awq import search
from quantizers.transforms.teq import train


def solve(
    target: Target,
    block: nn.Module,
    prefix: str,
    groups: tuple[Group, ...],
    moments: list[Tensor],
    check: Callable[[nn.Module], None],
) -> None:
    """Quantize `block` in place and write its tensors.

    Args:
        target: open for writing.
        block: float32, on the CPU.
        prefix: the block's path in the model.
        groups: of the block's family.
        moments: mean outer product of each group's input, float32 `[in, in]`; left as they are.
        check: raises unless the folded block computes what it did.
    """
    scales: list[Tensor | None] = [None] * len(groups)
    if target.recipe.transform:
        for index, group in enumerate(groups):
            scales[index] = _scale(target, block, prefix, group, moments[index])
        for group, scale in zip(groups, scales, strict=True):
            if scale is not None:
                fold(block, group, scale)
        check(block)
    quantized = set()
    for group, scale, moment in zip(groups, scales, moments, strict=True):
        names = [name for name in group.linears if f"{prefix}.{name}" in target.linears]
        if names:
            _round(target, block, prefix, names, moment, scale)
        quantized |= {f"{name}.weight" for name in names}
    for name, value in block.named_parameters():
        if name not in quantized:
            target.keep(f"{prefix}.{name}", value.to(target.slots[f"{prefix}.{name}"].dtype))


def _scale(target: Target, block: nn.Module, prefix: str, group: Group, moment: Tensor) -> Tensor | None:
    names = [name for name in group.linears if f"{prefix}.{name}" in target.linears]
    if not names or group.absorber is None:
        return None
    weight = torch.cat([weight_of(block, name) for name in names])
    size = target.recipe.group_size

    def fake(rows: Tensor) -> Tensor:
        scale, zero = RANGES["minmax"](grouped(rows, size), target.grid, target.stored)
        return dequantize(nearest(rows, scale, zero, target.grid, size), target.grid)

    def reachable(scale: Tensor) -> Tensor:
        return attainable(block, group, scale)

    scale, exponent, ratio = search(weight, moment, fake, reachable)
    target.measured(f"{prefix} {names[0]}: awq exponent", exponent)
    target.measured(f"{prefix} {names[0]}: awq error ratio", ratio)
    if target.recipe.transform == "teq":
        scale, ratio = train(weight, moment, fake, reachable, scale, size)
        scale = reachable(scale)
        target.measured(f"{prefix} {names[0]}: teq error ratio", ratio)
    return _representable(target, block, group, scale)


def _representable(target: Target, block: nn.Module, group: Group, scale: Tensor) -> Tensor:
    """The scale next to `scale` whose quotient the norm can store: what is folded then undoes itself exactly."""
    if group.kind not in ("norm", "norm_plus_one") or group.absorber is None:
        return scale
    shift = 1.0 if group.kind == "norm_plus_one" else 0.0
    weight = cast(Tensor, block.get_submodule(group.absorber).weight) + shift
    stored = (weight / scale - shift).to(target.dtype).float() + shift
    exact = weight / stored
    return torch.where(torch.isfinite(exact) & (exact > 0), exact, scale)


def _round(
    target: Target, block: nn.Module, prefix: str, names: list[str], moment: Tensor, folded: Tensor | None
) -> None:
    weights = [weight_of(block, name) for name in names]
    weight = torch.cat(weights)
    size = target.recipe.group_size
    scale_in = torch.ones(len(moment)) if folded is None else folded
    importance = grouped((moment.diagonal() / scale_in.square())[None], size)[0]
    scale, zero = RANGES[target.recipe.range](grouped(weight, size), target.grid, target.stored, importance)
    if target.recipe.rounding == "compensated":
        q = compensated(weight, scale, zero, target.grid, size, factorize(moment, scale_in))
        if target.recipe.range == "mse":
            q = refine(weight, q, target.grid, damped(moment.clone(), scale_in), target.stored)
    else:
        q = nearest(weight, scale, zero, target.grid, size)
    del weight
    start = 0
    for name, part in zip(names, weights, strict=True):
        rows = slice(start, start + len(part))
        zeros = None if q.zero is None else q.zero[rows]
        target.write(f"{prefix}.{name}", Codes(q.codes[rows], q.scale[rows], zeros), (len(part), part.shape[1]))
        start += len(part)
