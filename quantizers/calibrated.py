"""The calibrated pass: one block in memory, one original stream of hidden states, any number of targets.

The second moment of every linear's input is taken once, from the original model, and serves all targets: on the demo
model moments from each target's own quantized prefix lower the divergence by less than one percent and cost two more
runs of the block per target.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from quantizers import resume
from quantizers.activations import Activations, gram, mirror
from quantizers.blocks import Blocks, first_inputs, forward, materialize, watched
from quantizers.calibration import read_rows
from quantizers.checkpoint import Checkpoint
from quantizers.errors import QuantizeError
from quantizers.families.family import Group
from quantizers.families.fold import check_fold, in_features
from quantizers.progress import progress
from quantizers.request import Request
from quantizers.skeleton import Skeleton
from quantizers.solve import solve
from quantizers.target import Target


def calibrate(
    request: Request, checkpoint: Checkpoint, skeleton: Skeleton, targets: list[Target], work: Path
) -> Iterator[str]:
    """Write the blocks of every calibrated target; yield the prefix of each block's tensors when it is through.

    Raises:
        QuantizeError: the text, the family or the memory budget is at fault, or the text drives the model out of range.
    """
    calibration = request.calibration
    if calibration is None:
        names = ", ".join(target.name for target in targets)
        raise QuantizeError(
            f"target {names}: the recipe reads calibration text, and the request has none. Name a calibration set, "
            "or use a recipe without transform and with nearest rounding."
        )
    rows = read_rows(calibration, checkpoint.directory, skeleton.model.get_input_embeddings().num_embeddings)
    blocks, stream = first_inputs(checkpoint, skeleton, rows, work / "stream", request.memory_bytes)
    start = resume.finished(work)
    if start:
        resume.load(work, stream)
    for index in range(start, blocks.count):
        prefix = f"{blocks.stack.path}.{index}"
        progress(f"block {index + 1} of {blocks.count}", index, blocks.count)
        block = materialize(skeleton.model.get_submodule(prefix), prefix, checkpoint, skeleton)
        probe, before = stream[0][:1].clone(), forward(block, stream[0][:1], blocks)
        moments = _advance(block, blocks, stream)
        for position, target in enumerate(targets):
            progress(f"block {index + 1} of {blocks.count}: {target.name}", index, blocks.count)
            twin = block if position == len(targets) - 1 else copy.deepcopy(block)

            def check(folded: nn.Module, probe: Tensor = probe, before: Tensor = before) -> None:
                with torch.no_grad():
                    check_fold(folded, before, {"hidden_states": probe, **blocks.arguments}, tolerance=1e-4)

            solve(target, twin, prefix, blocks.stack.groups, moments, check)
        # The next block is read before these names are taken again: without this two blocks would be in memory.
        del block, twin, moments
        yield f"{prefix}."
        resume.save(work, index + 1, stream, targets)


def _advance(block: nn.Module, blocks: Blocks, stream: Activations) -> list[Tensor]:
    """Run the block over the stream in place; the mean outer product of every group's input, float32 `[in, in]`."""
    groups: tuple[Group, ...] = blocks.stack.groups
    moments = [torch.zeros(size, size) for size in (in_features(block, group) for group in groups)]
    tokens = 0
    with watched(block, groups, lambda index, batch: gram(moments[index], batch)):
        for index in range(len(stream)):
            batch = stream[index]
            tokens += math.prod(batch.shape[:2])
            stream[index] = forward(block, batch, blocks)
    for moment in moments:
        mirror(moment)
        moment /= tokens
    return moments
