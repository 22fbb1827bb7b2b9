"""The calibrated pass: one block in memory, one original stream of hidden states, any number of targets.

The second moment of every linear's input is taken once, from the original model, and serves all targets: on the demo
model moments from each target's own quantized prefix lower the divergence by less than one percent and cost two more
runs of the block per target.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from catalog.progress import report
from quantizers.artifact.target import Target
from quantizers.calibration import resume
from quantizers.calibration.activations import Activations
from quantizers.calibration.batches import ABREAST
from quantizers.calibration.blocks import PROBE_TOKENS, Blocks, Read, first_inputs, watched
from quantizers.calibration.call_pass import calibrate_calls
from quantizers.calibration.moments import Moments
from quantizers.calibration.solving import check_of, solve, unfolded, within
from quantizers.families.family import Family, Group
from quantizers.hardware.device import Compute, compute
from quantizers.hardware.threads import cores, pieces, side_by_side
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.given import Given
from quantizers.model.skeleton import Skeleton
from quantizers.model.values import materialize
from quantizers.request import Request
from quantizers.transforms.fold import present


def calibrate(
    request: Request,
    checkpoint: Checkpoint,
    skeleton: Skeleton,
    family: Family,
    given: Given,
    targets: list[Target],
    work: Path,
) -> Iterator[str]:
    """Write the blocks of every calibrated target; yield the prefix of each block's tensors when it is through.

    The stacks of an encoder-decoder model are passed one after the other: the encoder reads the rows of the
    calibration text, the decoder the same rows shifted right, beside what the encoder made of them.

    Raises:
        QuantizeError: the family or the memory budget is at fault, or the rows drive the model out of range.
    """
    # Two stacks hold two streams at a time: the decoder's, and the encoder's output.
    budget = None if request.memory_bytes is None else request.memory_bytes // max(1, len(family.stacks))
    encoded = None
    if family.calls:
        if not resume.finished(work):
            calibrate_calls(checkpoint, skeleton, family, given, targets, compute(request))
            resume.save(work, len(family.calls), [], targets, keep=0)
        yield from (f"{path}." for path in family.calls)
        return
    rows = given.ids
    assert rows is not None, "a chain of blocks reads text"
    for stack_index, stack in enumerate(family.stacks):
        stream = Activations(work / f"stream-{stack_index}", budget)
        blocks = first_inputs(checkpoint, skeleton, family, stack_index, rows, stream, encoded)
        last = blocks.first + blocks.count
        start = min(resume.finished(work), last)
        if start > blocks.first:
            resume.load(work, start, stream)
        for index in range(start - blocks.first, blocks.count):
            report(f"block {blocks.first + index + 1} of {blocks.total}", blocks.first + index, blocks.total)
            _block(index, checkpoint, skeleton, blocks, stream, targets, compute(request))
            yield f"{stack.path}.{index}."
            # All blocks of a decoder read what the encoder left.
            resume.save(work, blocks.first + index + 1, stream, targets, keep=blocks.first)
        if stack_index + 1 < len(family.stacks):
            encoded = _encoded(checkpoint, skeleton, stack.final_norm, stream)


def _block(
    index: int,
    checkpoint: Checkpoint,
    skeleton: Skeleton,
    blocks: Blocks,
    stream: Activations,
    targets: list[Target],
    on: Compute,
) -> None:
    """Advance the stream through one block, and write that block for every target."""
    prefix, done = f"{blocks.stack.path}.{index}", blocks.first + index
    block = materialize(skeleton.model.get_submodule(prefix), prefix, checkpoint, skeleton)
    groups = present(block, blocks.stack.groups)
    inputs = {blocks.stack.hidden: stream[0][:1, :PROBE_TOKENS].double(), **blocks.of_probe(index)}
    folds = any(group.absorber for group in groups) and any(target.recipe.transform for target in targets)
    check = check_of(block, inputs) if folds else unfolded
    quantized = within(prefix, *(target.linears for target in targets))
    moments = advance(block, index, blocks, groups, stream, on, quantized)

    def tell(target: str) -> None:
        report(f"block {done + 1} of {blocks.total}: {target}", done, blocks.total)

    solve(targets, block, prefix, groups, moments, check, tell)


def advance(
    block: nn.Module,
    index: int,
    blocks: Blocks,
    groups: tuple[Group, ...],
    stream: Activations,
    on: Compute,
    quantized: frozenset[str],
) -> list[Moments]:
    """Run the block at place `index` over the stream in place; the moments of what the quantized linears of each group read."""
    block.to(on.device)
    moments = [Moments(block, group, quantized) for group in groups]
    with watched(block, moments) as read:

        def run(number: int) -> tuple[Tensor, Read]:
            batch, arguments = tree_map_only(Tensor, on.moved, (stream[number], blocks.of_batch(index, number)))
            with on.autocast():
                return blocks.forward(block, batch, arguments).float().cpu(), read()

        for abreast in pieces(len(stream), _abreast(stream, moments, on)):
            numbers = range(abreast.start, abreast.stop)
            for number, (states, of_linears) in zip(numbers, side_by_side(run, numbers), strict=True):
                stream[number] = states
                for each, name, batch in of_linears:
                    each.see(name, batch)
    block.cpu()
    for each in moments:
        each.finish()
    return moments


def _abreast(stream: Activations, moments: list[Moments], on: Compute) -> int:
    """Batches that pass a block side by side; moments are summed in the order of the batches whatever their number."""
    held = 4 * stream[0][..., 0].numel() * sum(each.size for each in moments)
    return 1 if on.device.type != "cpu" else max(1, min(cores(), ABREAST // max(1, held)))


def _encoded(checkpoint: Checkpoint, skeleton: Skeleton, norm: str | None, stream: Activations) -> Activations:
    """What the decoder reads: the stream through the encoder's final norm, in the stream's own place."""
    if norm is not None:
        module = materialize(skeleton.model.get_submodule(norm), norm, checkpoint, skeleton)
        for index in range(len(stream)):
            stream[index] = module(stream[index])
    return stream
