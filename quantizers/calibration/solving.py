"""A block whose moments are known, solved for every target."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from quantizers.artifact.target import Target
from quantizers.calibration.block_solver import BlockSolver, Findings
from quantizers.calibration.moments import Moments
from quantizers.families.family import Group
from quantizers.transforms.float64 import Double
from quantizers.transforms.fold import check_fold, copied, hidden_states

Check = Callable[[nn.Module], None]
"""Raises QuantizeError unless a folded block computes what it did."""


def check_of(block: nn.Module, inputs: Mapping[str, Any]) -> Check:
    """Run a block in float64 before anything is folded into it; return what holds it against that later.

    Args:
        inputs: keyword arguments, hidden states in float64.
    """
    with Double():
        before = hidden_states(block(**copied(inputs)))

    def check(folded: nn.Module) -> None:
        with Double():
            check_fold(folded, before, copied(inputs))

    return check


def unfolded(_: nn.Module) -> None:
    """The check of a block that nothing is folded into."""


def solve(
    targets: Sequence[Target],
    block: nn.Module,
    prefix: str,
    groups: tuple[Group, ...],
    moments: list[Moments],
    check: Check,
    tell: Callable[[str], None],
) -> None:
    """Write the block at the path `prefix` for every target; it is used up. `tell` is told the target that is next."""
    findings: Findings = {}
    for position, target in enumerate(targets):
        tell(target.name)
        for name, value in block.named_buffers():
            if target.holds(f"{prefix}.{name}"):
                target.keep_whole(f"{prefix}.{name}", value)
        last = position == len(targets) - 1
        own = block if last else copy.deepcopy(block)
        BlockSolver(target, own, prefix, groups, moments, findings, consume_inputs=last).solve(check)


def within(prefix: str, *linears: Iterable[str]) -> frozenset[str]:
    """The linears, given by full name, of the block at `prefix`, by their names in it."""
    return frozenset(name[len(prefix) + 1 :] for each in linears for name in each if name.startswith(f"{prefix}."))
