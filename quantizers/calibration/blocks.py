"""Decoder blocks, one at a time: weights from the checkpoint onto a copy of the skeleton's block, inputs from the text.

Blocks compute in float32; what they hold is rounded to the dtype the loader reads, so that the next block sees what it
will see in the artifact.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from quantizers.calibration.activations import Activations
from quantizers.calibration.batches import BATCH_TOKENS
from quantizers.calibration.moments import Moments
from quantizers.discovery.forward import shifted
from quantizers.discovery.structure import block_calls
from quantizers.families.family import Family, Stack
from quantizers.hardware.threads import pieces, side_by_side
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.skeleton import Skeleton, blocks_of
from quantizers.model.values import materialize, outside, real
from quantizers.transforms.fold import bind, hidden_states

PROBE_TOKENS = 16
"""Tokens a folded block is checked on."""

_VARYING = ("hidden_states", "past_key_values", "encoder_hidden_states")


@dataclass(frozen=True)
class Blocks:
    """The blocks of one stack, and what they are called with besides the hidden states."""

    stack: Stack
    count: int
    first: int
    """Blocks in the stacks before this one."""
    total: int
    """Blocks in all stacks."""
    arguments: tuple[Mapping[str, Any], ...]
    """Block by block."""
    probes: tuple[Mapping[str, Any], ...]
    """`arguments` for one row of `PROBE_TOKENS` tokens."""
    encoded: Activations | None
    """The encoder's output, batch by batch, if these are a decoder's blocks that read it."""

    def of_batch(self, block: int, batch: int) -> dict[str, Any]:
        """Keyword arguments of a block of the stack for one batch."""
        encoded = {} if self.encoded is None else {"encoder_hidden_states": self.encoded[batch]}
        return {**self.arguments[block], **encoded}

    def of_probe(self, block: int) -> dict[str, Any]:
        """Keyword arguments of a block of the stack for the first tokens of the first row."""
        if self.encoded is None:
            return dict(self.probes[block])
        return {**self.probes[block], "encoder_hidden_states": self.encoded[0][:1, :PROBE_TOKENS]}

    def forward(self, module: nn.Module, states: Tensor, arguments: Mapping[str, Any]) -> Tensor:
        """Hidden states `[rows, tokens, hidden]` that leave a block; `states` are those that enter it."""
        return hidden_states(module(**{self.stack.hidden: states}, **arguments))

    def forward_rows(self, module: nn.Module, index: int, states: Tensor) -> Tensor:
        """What leaves the block at place `index` of the stack for `states`, its rows side by side."""
        arguments = self.arguments[index]
        rows = side_by_side(lambda row: self.forward(module, states[row], arguments), pieces(len(states), 1))
        return torch.cat(rows)


def first_inputs(
    checkpoint: Checkpoint,
    skeleton: Skeleton,
    family: Family,
    stack_index: int,
    rows: Tensor,
    activations: Activations,
    encoded: Activations | None,
) -> Blocks:
    """Fill `activations` with what reaches the first block of stack number `stack_index` for token ids int64 `[rows, tokens]`.

    An encoder reads the rows as they are. The decoder behind it reads the same rows shifted right, beside the
    encoder's output in `encoded`.
    """
    stack = family.stacks[stack_index]
    step = max(1, BATCH_TOKENS // rows.shape[1])
    with _Front(checkpoint, skeleton, family, stack_index) as front:
        for index, start in enumerate(range(0, len(rows), step)):
            states = None if encoded is None else encoded[index]
            activations[index] = front.call(rows[start : start + step], states)[stack.hidden].float()
        states = None if encoded is None else encoded[0][:1]
        one = front.call(rows[:1], states)
        few = front.call(rows[:1, :PROBE_TOKENS], None if states is None else states[:, :PROBE_TOKENS])
    if stack.carries:
        block = materialize(skeleton.model.get_submodule(f"{stack.path}.0"), f"{stack.path}.0", checkpoint, skeleton)
        for each in (one, few):
            output = block(**each)
            each.update({name: output[at] for at, name in stack.carries})
    counts = [blocks_of(skeleton, path) for path in family.blocks]
    if family.discovered:
        calls = [block_calls(checkpoint, skeleton, family, row) for row in (rows[:1], rows[:1, :PROBE_TOKENS])]
    else:
        calls = [[each] * counts[stack_index] for each in (one, few)]
    varying = {*_VARYING, stack.hidden}
    arguments, probes = (
        tuple({name: value for name, value in call.items() if name not in varying} for call in each) for each in calls
    )
    return Blocks(stack, counts[stack_index], sum(counts[:stack_index]), sum(counts), arguments, probes, encoded)


class _Reached(Exception):
    """The first block was called."""


class _Front:
    """The model up to the first block of a stack; a context in which what runs before that has its values."""

    def __init__(self, checkpoint: Checkpoint, skeleton: Skeleton, family: Family, stack_index: int) -> None:
        stack = family.stacks[stack_index]
        self._model, self._path = skeleton.model, stack.path
        modules = (*family.embeddings, *stack.embeddings)
        names = [f"{path}.{name}" for path in modules for name, _ in self._model.get_submodule(path).named_parameters()]
        if family.discovered:
            names = outside(skeleton, stack.path, family.head)
        self._real = real(names, checkpoint, skeleton)
        self._seen: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._real.__enter__()
        first = self._model.get_submodule(f"{self._path}.0")
        self._hook = first.register_forward_pre_hook(self._catch, with_kwargs=True)
        return self

    def __exit__(self, *error: Any) -> None:
        self._hook.remove()
        self._real.__exit__(*error)

    def _catch(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._seen = bind(block, args, kwargs)
        raise _Reached

    def call(self, ids: Tensor, encoded: Tensor | None = None) -> dict[str, Any]:
        try:
            self._model(**self._inputs(ids, encoded), use_cache=False)
        except _Reached:
            return self._seen
        raise AssertionError(f"{self._path}.0 was not called by the model's forward")

    def _inputs(self, ids: Tensor, encoded: Tensor | None) -> dict[str, Any]:
        if encoded is None:
            return {"input_ids": ids}
        return {"encoder_outputs": (encoded,), "decoder_input_ids": shifted(self._model.config, ids)}


Read = list[tuple[Moments, str, Tensor]]
"""What linears of a block read while it ran: for whose moment, which linear, and the tensor."""


@contextmanager
def watched(block: nn.Module, moments: list[Moments]) -> Iterator[Callable[[], Read]]:
    """Hand out what the watched linears have read in the calling thread since it asked last."""
    hooks, reads = [], threading.local()
    for each in moments:
        for name in each.watches:
            # A copy: what the block does with the tensor in place afterwards is not what was read.
            def hook(_: nn.Module, args: tuple[Tensor, ...], each: Moments = each, name: str = name) -> None:
                reads.__dict__.setdefault("of_thread", []).append((each, name, args[0].clone()))

            hooks.append(block.get_submodule(name).register_forward_pre_hook(hook))
    try:
        yield lambda: reads.__dict__.pop("of_thread", [])
    finally:
        for handle in hooks:
            handle.remove()
