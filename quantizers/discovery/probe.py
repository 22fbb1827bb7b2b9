"""Run a block in float64 while outputs of some of its modules, and inputs of others, are multiplied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from quantizers.transforms.float64 import Double
from quantizers.transforms.fold import copied


@dataclass(frozen=True)
class Run:
    """What one run of a block showed."""

    output: Tensor
    """Hidden states that left the block, float64 `[rows, tokens, hidden]`."""
    others: tuple[Tensor, ...]
    """All else that it returned, and what its arguments hold now."""
    read: Mapping[str, tuple[Tensor, ...]]
    """What each module that has a matrix read, call by call, in the order of first calls."""


@dataclass
class Probe:
    """A block, and arguments to run it with; the block itself is never changed."""

    block: nn.Module
    inputs: Mapping[str, Any]
    """Keyword arguments, hidden states in float64."""
    double: bool = True
    """Whether to compute in float64; else as the block does."""
    matrices: dict[str, nn.Module] = field(init=False)
    """The modules that own a two-dimensional weight, by name: linears, routers, gates."""
    vectors: dict[str, nn.Module] = field(init=False)
    """The modules that own a one-dimensional weight: norms."""

    def __post_init__(self) -> None:
        owned = {name: module for name, module in self.block.named_modules() if isinstance(_weight(module), Tensor)}
        self.matrices = {name: module for name, module in owned.items() if _weight(module).dim() == 2}
        self.vectors = {name: module for name, module in owned.items() if _weight(module).dim() == 1}

    @torch.no_grad()
    def run(
        self,
        outputs: Mapping[str, Tensor] | None = None,
        inputs: Mapping[str, Tensor] | None = None,
        fixed: Mapping[str, tuple[Tensor, ...]] | None = None,
    ) -> Run:
        """Run the block.

        Args:
            outputs: module → float64 factors that its output `[…, out]` is multiplied by.
            inputs: module → float64 factors that its input `[…, in]` is multiplied by.
            fixed: module → what it reads instead, call by call.
        """
        read: dict[str, list[Tensor]] = {}
        with ExitStack() as stack:
            for name, module in self.matrices.items():
                stack.enter_context(_noting(module, name, read))
            for name, factor in (inputs or {}).items():
                stack.enter_context(_reading(self.block.get_submodule(name), factor))
            for name, calls in (fixed or {}).items():
                stack.enter_context(_replaced(self.block.get_submodule(name), calls))
            for name, factor in (outputs or {}).items():
                stack.enter_context(_answering(self.block.get_submodule(name), factor))
            arguments = copied(self.inputs)
            with Double() if self.double else nullcontext():
                output, *others = tensors_of(self.block(**arguments))
        return Run(output, (*others, *tensors_of(arguments)), {name: tuple(calls) for name, calls in read.items()})


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors in some value, in a fixed order: in containers, and in objects that hold some, such as caches."""
    return list(_tensors(value, set()))


def _tensors(value: Any, seen: set[int]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each, seen)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each, seen)
    elif _holds(value) and id(value) not in seen:
        seen.add(id(value))
        yield from _tensors(vars(value), seen)


def _holds(value: Any) -> bool:
    return hasattr(value, "__dict__") and not isinstance(value, nn.Module | type | PreTrainedConfig)


def _weight(module: nn.Module) -> Tensor:
    weight: Tensor = module._parameters.get("weight")  # type: ignore[assignment]
    return weight


@contextmanager
def _noting(module: nn.Module, name: str, read: dict[str, list[Tensor]]) -> Iterator[None]:
    handle = module.register_forward_pre_hook(lambda _, args: read.setdefault(name, []).append(args[0]))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _reading(module: nn.Module, factor: Tensor) -> Iterator[None]:
    handle = module.register_forward_pre_hook(lambda _, args: (args[0] * factor, *args[1:]))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _replaced(module: nn.Module, calls: tuple[Tensor, ...]) -> Iterator[None]:
    left = iter(calls)
    handle = module.register_forward_pre_hook(lambda _, args: (next(left, args[0]), *args[1:]))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _answering(module: nn.Module, factor: Tensor) -> Iterator[None]:
    handle = module.register_forward_hook(lambda _, args, output: output * factor)
    try:
        yield
    finally:
        handle.remove()
