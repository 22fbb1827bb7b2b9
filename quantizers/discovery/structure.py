"""Where a model's blocks are, what runs before and after them, and what each is called with: seen by running its forward.

Every block is replaced by a stand-in that notes its call and hands on hidden states of our own. What each next block, and
the norm behind the last, receives then shows whether the blocks form a chain; whether anything else that they receive
depends on the text or on the hidden states shows when the run is repeated with others. A model that is no such chain is
refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from catalog.foreign_errors import machine_fault
from quantizers.errors import QuantizeError
from quantizers.families.family import Family
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.skeleton import Skeleton, linear_shape
from quantizers.model.values import outside, real
from quantizers.transforms.fold import bind, hidden_states

TOKENS = 24
"""Tokens of the rows that are run."""


@dataclass(frozen=True)
class Structure:
    """A chain of blocks and what surrounds it; paths are from the top of the model."""

    blocks: str
    """Path of the block list."""
    embeddings: tuple[str, ...]
    """Modules with weights that run before the first block."""
    final_norm: str | None
    """The module with weights that runs after the last block, if one does."""
    before_head: tuple[str, ...]
    """Further ones before the head."""
    head: str
    hidden: str
    """Name of the blocks' argument that takes the hidden states."""


class _Reached(Exception):
    """The head was called."""


def find_structure(checkpoint: Checkpoint, skeleton: Skeleton) -> Structure:
    """Return the chain of blocks of a causal model. Raises QuantizeError, saying why, when there is none."""
    model = skeleton.model
    head = model.get_output_embeddings()
    path = next((name for name, module in model.named_modules() if module is head), None)
    if path is None:
        raise _refused(skeleton, "it has no output embeddings")
    lists = [name for name, module in model.named_modules() if _is_list(module)]
    # A list inside a block of another is a part of that block: heads, experts.
    outermost = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    why = "no list of like modules holds its linears"
    for blocks in sorted(outermost, key=lambda name: -_elements(model.get_submodule(name))):
        try:
            return _structure(checkpoint, skeleton, blocks, path)
        except QuantizeError as error:
            why = str(error)
    raise _refused(skeleton, why)


def _refused(skeleton: Skeleton, why: str) -> QuantizeError:
    return QuantizeError(
        f"config.json: model_type {skeleton.model.config.model_type} has no table here, and its forward does not split into "
        f"a chain of blocks: {why}. A recipe without transform and with nearest rounding takes any model."
    )


def _is_list(module: nn.Module) -> bool:
    return isinstance(module, nn.ModuleList) and any(map(linear_shape, module.modules()))


def _elements(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _structure(checkpoint: Checkpoint, skeleton: Skeleton, blocks: str, head: str) -> Structure:
    vocabulary = skeleton.vocabulary
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(vocabulary, (1, TOKENS), generator=generator) for _ in range(2)]
    with real(outside(skeleton, blocks, head), checkpoint, skeleton):
        seen, other = (_run(skeleton, blocks, head, row, seed) for seed, row in enumerate(rows))
    hidden = hidden_name(seen.calls[0])
    for number, (call, again) in enumerate(zip(seen.calls, other.calls, strict=True)):
        if varying := _varying(call, again, hidden):
            raise QuantizeError(f"block {number} also reads {varying}, which depends on the text or on other blocks")
    first, last = seen.order.index("block"), len(seen.order) - seen.order[::-1].index("block")
    behind = tuple(dict.fromkeys(seen.order[last:]))
    return Structure(
        blocks=blocks,
        embeddings=tuple(dict.fromkeys(seen.order[:first])),
        final_norm=behind[0] if behind else None,
        before_head=behind[1:],
        head=head,
        hidden=hidden,
    )


def _varying(call: Mapping[str, Any], again: Mapping[str, Any], hidden: str) -> str | None:
    """The argument, besides the hidden states, that is a tensor and differs between two runs."""
    for name in call.keys() | again.keys():
        if name == hidden:
            continue
        one, other = (
            [leaf for leaf in tree_leaves(each.get(name)) if isinstance(leaf, Tensor)] for each in (call, again)
        )
        same = len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        if not same:
            return name
    return None


def hidden_name(call: Mapping[str, Any]) -> str:
    """Name of the argument that holds the hidden states: the first that is a tensor `[rows, tokens, hidden]` of floats."""
    for name, value in call.items():
        if isinstance(value, Tensor) and value.dim() == 3 and value.is_floating_point():
            return name
    raise QuantizeError(f"its blocks are called without hidden states, with {', '.join(call)}")


def block_calls(checkpoint: Checkpoint, skeleton: Skeleton, family: Family, row: Tensor) -> list[dict[str, Any]]:
    """Return what each block of the only stack is called with for int64 ids `[1, tokens]`.

    The hidden states are the model's own for the first block, and random ones for the others.
    """
    (blocks,) = family.blocks
    with real(outside(skeleton, blocks, family.head), checkpoint, skeleton):
        return _run(skeleton, blocks, family.head, row, seed=0).calls


def _run(skeleton: Skeleton, blocks: str, head: str, row: Tensor, seed: int) -> _StandIns:
    """Run the model with stand-ins that return a tensor, or, if the model unpacks what its blocks return, a tuple."""
    failure: QuantizeError | None = None
    for as_tuple in (False, True):
        stand_ins = _StandIns(skeleton.model, blocks, head, as_tuple, torch.Generator().manual_seed(seed))
        try:
            stand_ins.run(row)
        except QuantizeError as error:
            failure = failure or error
        else:
            return stand_ins
    assert failure
    raise failure


@dataclass
class _StandIns:
    """One run of a model whose blocks only note their calls and hand on random hidden states."""

    model: nn.Module
    blocks: str
    head: str
    as_tuple: bool
    generator: torch.Generator
    calls: list[dict[str, Any]] = field(default_factory=list)
    """Arguments of each block, in the order of the list."""
    order: list[str] = field(default_factory=list)
    """Modules with weights outside the blocks, and `block`, in the order they were called."""
    handed: list[Tensor] = field(default_factory=list)
    """What each block returned."""
    behind: Tensor | None = None
    """What the first module behind the blocks read."""

    def run(self, row: Tensor) -> None:
        """Run int64 ids `[1, tokens]` up to the head. Raises QuantizeError where the blocks are no chain."""
        layers: list[nn.Module] = list(self.model.get_submodule(self.blocks))  # type: ignore[call-overload]
        with ExitStack() as stack:
            for number, block in enumerate(layers):
                stack.enter_context(_forward(block, partial(self._block, block, number)))
            stack.enter_context(_forward(self.model.get_submodule(self.head), _reached))
            for name, module in self.model.named_modules():
                if self._is_watched(name, module):
                    hook = partial(self._note, name, len(layers))
                    stack.callback(module.register_forward_pre_hook(hook).remove)
            try:
                self.model(input_ids=row, use_cache=False)
            except (_Reached, QuantizeError) as ended:
                if isinstance(ended, QuantizeError):
                    raise
            except Exception as error:  # whatever the model's own code makes of states that are none of its own
                what = f"{type(error).__name__}: {error}"
                raise machine_fault(error) or QuantizeError(
                    f"with stand-ins for its blocks it fails ({what})"
                ) from error
        if len(self.calls) != len(layers):
            raise QuantizeError(f"{len(self.calls)} of the {len(layers)} modules of {self.blocks} run")
        if self.behind is not None and not torch.equal(hidden_states(self.behind), self.handed[-1]):
            raise QuantizeError("what follows the last block does not read what that returns")

    def _is_watched(self, name: str, module: nn.Module) -> bool:
        owns = next(module.parameters(recurse=False), None) is not None
        return owns and name != self.head and not name.startswith(f"{self.blocks}.")

    def _block(self, block: nn.Module, number: int, *args: Any, **kwargs: Any) -> Any:
        call = bind(block, args, kwargs)
        if number != len(self.calls):
            raise QuantizeError(f"block {number} runs after {len(self.calls)} others")
        states = call[hidden_name(call)]
        if self.handed and not (states.shape == self.handed[-1].shape and torch.equal(states, self.handed[-1])):
            raise QuantizeError(f"block {number} does not read what block {number - 1} returns")
        self.calls.append(call)
        self.order.append("block")
        self.handed.append(torch.randn(states.shape, generator=self.generator, dtype=states.dtype))
        return (self.handed[-1],) if self.as_tuple else self.handed[-1]

    def _note(self, name: str, blocks: int, _: nn.Module, args: tuple[Any, ...]) -> None:
        if len(self.calls) == blocks and self.behind is None and args:
            self.behind = args[0]
        self.order.append(name)


def _reached(*_: Any, **__: Any) -> None:
    raise _Reached


@contextmanager
def _forward(module: nn.Module, forward: Any) -> Iterator[None]:
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
