"""Rows of tokens that run through the parts of a graph of OpenVINO; each part is let go of when all rows are through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gates.clients import graph_parts

_KEEPS_NOTHING = {"CPU_RUNTIME_CACHE_CAPACITY": 0}
"""What is kept for shapes to come outlives what was compiled: 17 MB a part of a billion-parameter model, and 63 for a long row
without `release_memory`."""
Carried = dict[graph_parts.Tensor, Any]
"""What parts leave for others: `openvino.Tensor`, by what it is in the graph."""


@dataclass
class Row:
    """A row on its way through the parts, in pieces that each read what the cache holds of those before."""

    ids: Tensor
    feeds: list[dict[str, Any]]
    """Of each piece, what the stock class gives the graph."""
    carried: list[Carried]
    """Of each piece, what parts have left for others."""


@dataclass
class Parts:
    """The graph of a directory, a part of it at a time."""

    open: Callable[[], Any]
    """Read it, as an object of the stock class that is not compiled."""
    device: str
    graph: graph_parts.Graph
    """Where it is cut."""
    dtype: str = "f32"
    """What parts leave for each other."""

    @property
    def cuts(self) -> list[str]:
        """Nodes that parts end with."""
        return self.graph.cuts

    @property
    def count(self) -> int:
        """How many there are."""
        return self.graph.parts

    def cut(self, cuts: list[str]) -> Parts:
        """Return the same graph cut elsewhere."""
        return replace(self, graph=graph_parts.Graph(self.open().model, cuts))

    def compiled(self, number: int, shapes: bool = False) -> tuple[graph_parts.Part, Any]:
        """Return a part and what it was compiled to. Its weights are read from the file as it runs."""
        stock = self.open()
        part = self.graph.part(stock.model, number, self.dtype, shapes)
        return part, _core().compile_model(part.graph, self.device, {**stock.ov_config, **_KEEPS_NOTHING})

    def graphs(self) -> Iterator[Any]:
        """Yield the graph of each part."""
        for number in range(self.count):
            yield self.graph.part(self.open().model, number, self.dtype).graph

    def advance(self, number: int, rows: Sequence[Row]) -> None:
        """Run a part for all rows."""
        made = [Running(*self.compiled(number))]
        if self.graph.gives_shapes(number):
            made.append(Running(*self.compiled(number, shapes=True)))
        needed = self.graph.needed_after(number)
        for row in rows:
            for running in made:
                running.begin()
            for piece, (feed, carried) in enumerate(zip(row.feeds, row.carried, strict=True)):
                for given in [running.run(feed, carried)[1] for running in made]:
                    carried |= given
                row.carried[piece] = {tensor: value for tensor, value in carried.items() if tensor in needed}
        for running in made:
            running.end()


class Running:
    """A part that is compiled."""

    def __init__(self, part: graph_parts.Part, compiled: Any) -> None:
        self.part, self._compiled, self._request = part, compiled, compiled.create_infer_request()
        self._first = len(part.graph.outputs) - len(part.given)

    def begin(self) -> None:
        """Forget what came before."""
        self._request.reset_state()

    def end(self) -> None:
        """Let go of what it computed in."""
        self._compiled.release_memory()

    def run(self, feed: Mapping[str, Any], carried: Carried) -> tuple[list[Any], Carried]:
        """Run one piece of a row; return the graph's own outputs, and what other parts take."""
        inputs = [*(feed[name] for name in self.part.own), *(carried[tensor] for tensor in self.part.taken)]
        self._request.infer(dict(enumerate(inputs)))
        made = [self._request.get_output_tensor(number) for number in range(len(self.part.graph.outputs))]
        given = zip(self.part.given, made[self._first :], strict=True)
        return made[: self._first], {tensor: _copied(value) for tensor, value in given}


def left_of(row: Row, node: str) -> Tensor:
    """Return what a node left of a row of one piece, (1, tokens, …), in the dtype that it was given in."""
    left = row.carried[0][graph_parts.Tensor(node, 0)]
    if left.element_type.get_type_name() == "bf16":
        return torch.from_numpy(np.array(left.data).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(left.data))


def _copied(tensor: Any) -> Any:
    from openvino import Tensor as OpenVINOTensor

    copy = OpenVINOTensor(tensor.element_type, tensor.shape)
    tensor.copy_to(copy)
    return copy


@cache
def _core() -> Any:
    from openvino import Core

    return Core()
