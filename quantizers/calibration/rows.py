"""A block called for many rows, a few at a time, whatever it is called with.

Which dimension of an argument counts rows is told by its size: the number of rows is one that divides no size of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from quantizers.hardware.device import Compute
from quantizers.model.given import Given

LEAST = 3
"""Fewer rows are not taken apart."""


def countable(given: Given, model: nn.Module, config: dict[str, Any]) -> Given | None:
    """As many of the rows as can be told from every other size; None where no such number is."""
    own = {size for value in given.tensors.values() for size in value.shape[1:]}
    others = {each for size in own for each in (size, 2 * size, 2 * size - 1, size - 1, size + 1)} | set(
        _integers(config)
    )
    for value in (*model.parameters(), *model.buffers()):
        others.update(value.shape)
    for count in range(len(given), LEAST - 1, -1):
        if all(size % count for size in others if size):
            return given.first(count)
    return None


def _integers(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _integers(each)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield abs(value)


def by_rows(block: Callable[..., Any], arguments: dict[str, Any], rows: int | None, step: int, on: Compute) -> Any:
    """What a block returns for all rows, computed for `step` at a time where nothing but tensors tells rows apart.

    Args:
        arguments: of the call, by keyword.
        rows: how many rows it is for, a number from `countable`; None: they are not told apart.
    """
    leaves, shape = tree_flatten(arguments)
    if rows is None or not all(map(_plain, arguments.values())):
        output = block(**tree_map_only(Tensor, on.moved, arguments))
        return tree_map_only(Tensor, lambda each: each.cpu(), output)
    # One row first: a dimension of what is returned counts rows if it grows with them.
    starts = [0, *range(1, rows, max(2, step)), rows]
    parts = []
    for start, stop in pairwise(starts):
        part = tree_unflatten([_cut(leaf, rows, start, stop, on) for leaf in leaves], shape)
        parts.append(tree_flatten(block(**part)))
    joined = [_joined(each) for each in zip(*(leaves for leaves, _ in parts), strict=True)]
    return tree_unflatten(joined, parts[0][1])


def one_row(arguments: dict[str, Any], rows: int | None, on: Compute) -> dict[str, Any]:
    """The arguments of a call for its first row alone, where rows are told apart."""
    if rows is None or not all(map(_plain, arguments.values())):
        return arguments
    return tree_map_only(Tensor, lambda leaf: _cut(leaf, rows, 0, 1, on), arguments)  # type: ignore[no-any-return]


def _plain(value: Any) -> bool:
    """Whether a value holds nothing that a block could change for its model to see."""
    if isinstance(value, tuple):
        return all(map(_plain, value))
    return value is None or isinstance(value, Tensor | int | float | str)


def _cut(leaf: Any, rows: int, start: int, stop: int, on: Compute) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    # Some fold heads into the rows, and some count tokens first.
    dim = next((dim for dim, size in enumerate(leaf.shape[:2]) if size and not size % rows), None)
    if dim is None:
        return on.moved(leaf)
    each = leaf.shape[dim] // rows
    return on.moved(leaf.narrow(dim, start * each, (stop - start) * each))


def _joined(parts: tuple[Any, ...]) -> Any:
    first, second = parts[0], parts[1]
    if not isinstance(first, Tensor):
        return first
    grown = next((dim for dim, (a, b) in enumerate(zip(first.shape, second.shape, strict=True)) if a != b), None)
    values = [part.float() if part.is_floating_point() else part for part in parts]
    return values[0].cpu() if grown is None else torch.cat([value.cpu() for value in values], grown)
