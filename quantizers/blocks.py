"""Decoder blocks, one at a time: weights from the checkpoint onto a copy of the skeleton's block, inputs from the text.

Blocks compute in float32; what they hold is rounded to the dtype the loader reads, so that the next block sees what it
will see in the artifact.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from quantizers.activations import Activations
from quantizers.checkpoint import Checkpoint
from quantizers.errors import QuantizeError
from quantizers.families import family_of
from quantizers.families.family import Group, Stack
from quantizers.families.fold import bind, hidden_states
from quantizers.skeleton import Skeleton

BATCH_TOKENS = 1024
"""Tokens that pass a block at a time, one row at the least."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of a model, and what they are called with besides the hidden states."""

    stack: Stack
    count: int
    arguments: Mapping[str, Any]


def materialize(module: nn.Module, prefix: str, checkpoint: Checkpoint, skeleton: Skeleton) -> nn.Module:
    """A copy of a skeleton's module with its weights in float32; `prefix` is its path, weights included tied ones."""
    twin = copy.deepcopy(module)
    for name, _ in list(twin.named_parameters()):
        full = f"{prefix}.{name}"
        key = skeleton.source.get(full) or skeleton.source[skeleton.tied[full]]
        owner, _, last = name.rpartition(".")
        value = nn.Parameter(checkpoint.whole(key).float(), requires_grad=False)
        twin.get_submodule(owner)._parameters[last] = value
    return twin.eval()


def first_inputs(
    checkpoint: Checkpoint, skeleton: Skeleton, rows: Tensor, spill: Path, budget: int | None
) -> tuple[Blocks, Activations]:
    """What reaches the first block for token ids int64 `[rows, tokens]`.

    Raises:
        QuantizeError: the family has no table, or several stacks of blocks.
    """
    family = family_of(checkpoint.config)
    if len(family.stacks) != 1 or family.stacks[0].carries:
        raise QuantizeError(
            f"model_type {family.model_type} has an encoder and a decoder; recipes that read calibration text take "
            "models with one stack of blocks. Use a recipe without transform and with nearest rounding."
        )
    stack = family.stacks[0]
    model = _Front(skeleton.model, stack.path)
    for path in family.embeddings:
        model.put(path, materialize(skeleton.model.get_submodule(path), path, checkpoint, skeleton))
    step = max(1, BATCH_TOKENS // rows.shape[1])
    activations = Activations(spill, budget)
    arguments: dict[str, Any] = {}
    with model:
        arguments = model.call(rows[:1])
        for index, start in enumerate(range(0, len(rows), step)):
            batch = model.call(rows[start : start + step])["hidden_states"].float()
            if budget is not None and batch.nbytes > budget:
                raise QuantizeError(
                    f"memory budget {budget} bytes: one batch of hidden states takes {batch.nbytes}. Give at least "
                    "that, or fewer tokens per row."
                )
            activations[index] = batch
    arguments = {name: value for name, value in arguments.items() if name not in ("hidden_states", "past_key_values")}
    return Blocks(stack, len(skeleton.model.get_submodule(stack.path)), arguments), activations  # type: ignore[arg-type]


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

    def call(self, ids: Tensor) -> dict[str, Any]:
        try:
            self._model(input_ids=ids, use_cache=False)
        except _Reached:
            return self._seen
        raise AssertionError(f"{self._path}.0 was not called by the model's forward")


def _set(model: nn.Module, path: str, module: nn.Module) -> None:
    owner, _, last = path.rpartition(".")
    setattr(model.get_submodule(owner), last, module)


def forward(block: nn.Module, batch: Tensor, blocks: Blocks) -> Tensor:
    """Hidden states `[rows, tokens, hidden]` that leave a block."""
    name = "hidden_states" if "hidden_states" in _parameters(block) else next(iter(_parameters(block)))
    return hidden_states(block(**{name: batch}, **blocks.arguments))


def _parameters(block: nn.Module) -> Mapping[str, Any]:
    import inspect

    return inspect.signature(block.forward).parameters


@contextmanager
def watched(block: nn.Module, groups: tuple[Group, ...], see: Any) -> Iterator[None]:
    """Call `see(index, input)` with the input of every group while the block runs."""
    hooks = []
    for index, group in enumerate(groups):
        module = block.get_submodule(group.linears[0])

        def hook(_: nn.Module, args: tuple[Tensor, ...], index: int = index) -> None:
            see(index, args[0])

        hooks.append(module.register_forward_pre_hook(hook))
    try:
        yield
    finally:
        for each in hooks:
            each.remove()
