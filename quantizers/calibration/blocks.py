"""Decoder blocks, one at a time: weights from the checkpoint onto a copy of the skeleton's block, inputs from the text.

Blocks compute in float32; what they hold is rounded to the dtype the loader reads, so that the next block sees what it
will see in the artifact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from quantizers.calibration.activations import Activations
from quantizers.calibration.moments import Moments
from quantizers.families.family import Family, Stack
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.skeleton import Skeleton, blocks_of
from quantizers.model.values import materialize
from quantizers.transforms.fold import bind, hidden_states

BATCH_TOKENS = 1024
"""Tokens that pass a block at a time, one row at the least."""
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
    arguments: Mapping[str, Any]
    probe: Mapping[str, Any]
    """`arguments` for one row of `PROBE_TOKENS` tokens."""
    encoded: Activations | None
    """The encoder's output, batch by batch, if these are a decoder's blocks that read it."""

    def of_batch(self, index: int) -> dict[str, Any]:
        """Keyword arguments for one batch."""
        return {**self.arguments, **({} if self.encoded is None else {"encoder_hidden_states": self.encoded[index]})}

    def of_probe(self) -> dict[str, Any]:
        """Keyword arguments for the first tokens of the first row."""
        if self.encoded is None:
            return dict(self.probe)
        return {**self.probe, "encoder_hidden_states": self.encoded[0][:1, :PROBE_TOKENS]}


def first_inputs(
    checkpoint: Checkpoint,
    skeleton: Skeleton,
    family: Family,
    place: int,
    rows: Tensor,
    activations: Activations,
    encoded: Activations | None,
) -> Blocks:
    """Fill `activations` with what reaches the first block of stack `place` for token ids int64 `[rows, tokens]`.

    An encoder reads the rows as they are. The decoder behind it reads the same rows shifted right, beside the
    encoder's output in `encoded`.
    """
    stack = family.stacks[place]
    front = _Front(skeleton.model, stack.path)
    for path in (*family.embeddings, *stack.embeddings):
        front.put(path, materialize(skeleton.model.get_submodule(path), path, checkpoint, skeleton))
    step = max(1, BATCH_TOKENS // rows.shape[1])
    with front:
        for index, start in enumerate(range(0, len(rows), step)):
            states = None if encoded is None else encoded[index]
            activations[index] = front.call(rows[start : start + step], states)["hidden_states"].float()
        states = None if encoded is None else encoded[0][:1]
        arguments = front.call(rows[:1], states)
        cut = None if states is None else states[:, :PROBE_TOKENS]
        probe = front.call(rows[:1, :PROBE_TOKENS], cut)
    if stack.carries:
        block = materialize(skeleton.model.get_submodule(f"{stack.path}.0"), f"{stack.path}.0", checkpoint, skeleton)
        for each in (arguments, probe):
            output = block(**each)
            each.update({name: output[at] for at, name in stack.carries})
    counts = [blocks_of(skeleton, path) for path in family.blocks]
    fixed, probed = ({k: v for k, v in each.items() if k not in _VARYING} for each in (arguments, probe))
    return Blocks(stack, counts[place], sum(counts[:place]), sum(counts), fixed, probed, encoded)


class _Reached(Exception):
    """The first block was called."""


class _Front:
    """The model up to its first block; a context in which skeleton modules are exchanged for real ones."""

    def __init__(self, model: nn.Module, path: str) -> None:
        self._model, self._path = model, path
        self._put: dict[str, tuple[nn.Module, nn.Module]] = {}
        self._seen: dict[str, Any] = {}

    def put(self, path: str, module: nn.Module) -> None:
        self._put[path] = (self._model.get_submodule(path), module)

    def __enter__(self) -> None:
        for path, (_, real) in self._put.items():
            _set(self._model, path, real)
        first = self._model.get_submodule(f"{self._path}.0")
        self._hook = first.register_forward_pre_hook(self._catch, with_kwargs=True)

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
        for path, (meta, _real) in self._put.items():
            _set(self._model, path, meta)

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
        shifted = self._model.prepare_decoder_input_ids_from_labels(ids)  # type: ignore[operator]
        return {"encoder_outputs": (encoded,), "decoder_input_ids": shifted}


def _set(model: nn.Module, path: str, module: nn.Module) -> None:
    owner, _, last = path.rpartition(".")
    setattr(model.get_submodule(owner), last, module)


def forward(block: nn.Module, batch: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    """Hidden states `[rows, tokens, hidden]` that leave a block."""
    return hidden_states(block(hidden_states=batch, **arguments))


@contextmanager
def watched(block: nn.Module, moments: list[Moments]) -> Iterator[None]:
    """Sum the moments while the block runs."""
    hooks = []
    for each in moments:
        for name in each.watches:

            def hook(_: nn.Module, args: tuple[Tensor, ...], each: Moments = each, name: str = name) -> None:
                each.see(name, args[0])

            hooks.append(block.get_submodule(name).register_forward_pre_hook(hook))
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()
