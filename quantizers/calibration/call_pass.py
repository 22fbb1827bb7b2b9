"""The calibrated pass over a model that is no chain of blocks: its own forward, run once over all rows.

Each block is read when the model calls it, watched while it answers for a few rows at a time, and solved and let go of after
its last call. What the model holds between its blocks is in memory for all rows at once, and an interrupted pass begins again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from catalog.progress import report
from quantizers.artifact.target import Target
from quantizers.calibration.blocks import watched
from quantizers.calibration.moments import Moments
from quantizers.calibration.rows import by_rows, countable, one_row
from quantizers.calibration.solving import Check, check_of, solve, unfolded, within
from quantizers.discovery.forward import block_paths, end_forward, run_model
from quantizers.families.family import Called, Family
from quantizers.hardware.device import Compute
from quantizers.hardware.threads import one_thread_each
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.given import Given
from quantizers.model.skeleton import Skeleton
from quantizers.model.values import materialize

COUNTED = "tokens of its own"
"""Beside the arguments of a block: which tokens are counted."""


@dataclass
class _Open:
    """A block that was called, and is going to be called again or solved."""

    block: nn.Module
    moments: list[Moments]
    check: Check
    left: int
    """Calls to come."""


def calibrate_calls(
    checkpoint: Checkpoint, skeleton: Skeleton, family: Family, given: Given, targets: list[Target], on: Compute
) -> None:
    """Write every block of the family for every target, each after its last call in the forward of all rows.

    Raises:
        QuantizeError: the forward fails, or a fold changes what a block computes.
    """
    told_apart = countable(given, skeleton.model, checkpoint.config)
    given, count = (given, None) if told_apart is None else (told_apart, len(told_apart))
    # Told with the call, so that it is cut as the rows are.
    counted = {} if given.counted is None else {COUNTED: given.counted}
    called: dict[str, _Open] = {}
    solved: list[str] = []

    def tell(target: str) -> None:
        report(f"block {len(solved) + 1} of {len(family.calls)}: {target}", len(solved), len(family.calls))

    def call(path: str, arguments: dict[str, Any]) -> Any:
        if path not in family.calls:
            block = materialize(skeleton.model.get_submodule(path), path, checkpoint, skeleton).to(on.device)
            with on.autocast():
                return by_rows(block, arguments, count, given.step, on)
        if path not in called:
            one, scarce = one_row(arguments, count, on), given.counted is not None
            called[path] = _opened(checkpoint, skeleton, family.calls[path], path, targets, one, scarce)
        each = called[path]
        each.block.to(on.device)
        with watched(each.block, each.moments) as read, on.autocast(), one_thread_each():

            def run(**part: Any) -> Any:
                own = part.pop(COUNTED, None)
                output = each.block(**part)
                for moments, name, batch in read():
                    moments.see(name, batch if own is None or batch.shape[:2] != own.shape else batch[own])
                return output

            output = by_rows(run, {**arguments, **counted}, count, given.step, on)
        each.block.cpu()
        each.left -= 1
        if not each.left:
            for moments in each.moments:
                moments.finish()
            solve(targets, each.block, path, family.calls[path].groups, each.moments, each.check, tell)
            solved.append(path)
            del called[path]
            if len(solved) == len(family.calls):
                end_forward()
        return output

    run_model(checkpoint, skeleton, block_paths(skeleton.model), given.tensors, call)


def _opened(
    checkpoint: Checkpoint,
    skeleton: Skeleton,
    seen: Called,
    path: str,
    targets: list[Target],
    arguments: dict[str, Any],
    scarce: bool,
) -> _Open:
    block = materialize(skeleton.model.get_submodule(path), path, checkpoint, skeleton)
    groups, quantized = seen.groups, within(path, *(target.linears for target in targets))
    moments = [Moments(block, group, quantized, scarce) for group in groups]
    check: Check = unfolded
    if any(group.absorber for group in groups) and any(target.recipe.transform for target in targets):
        widened = tree_map_only(Tensor, lambda each: each.double() if each.dtype == torch.float32 else each, arguments)
        check = check_of(block, widened)
    return _Open(block, moments, check, seen.times)
