"""A graph of OpenVINO in parts that run one after the other, so that no more than one need be in memory.

It is cut where a single tensor leads from what was computed of the tokens to all that follows: the sum of residuals, between
two blocks of a decoder. What depends on no token, as masks and angles of positions do, is computed anew by each part that
reads it, and a state of the cache is kept by the part that writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

TOKENS = ("input_ids", "inputs_embeds")
"""What a graph computes all else of; its other inputs say where tokens are, and which there are."""
_ENDS = ("Assign", "Result")


@dataclass(frozen=True)
class Tensor:
    """An output of a node."""

    node: str
    """Its friendly name."""
    index: int


@dataclass(frozen=True)
class Part:
    """A part as a graph of its own."""

    graph: Any
    """`openvino.Model`: its inputs are `own`, then `taken`; its last outputs are `given`."""
    own: tuple[str, ...]
    """Inputs of the whole graph."""
    taken: tuple[Tensor, ...]
    """What other parts gave."""
    given: tuple[Tensor, ...]
    """What others take."""


class Graph:
    """What of a graph depends on what. It holds for the same graph read anew, too, from which parts are taken."""

    def __init__(self, model: Any, cuts: Sequence[str] | None = None) -> None:
        """cuts: nodes that parts end with, by friendly name; None: all that may be."""
        self.order = model.get_ordered_ops()
        self.nodes = {_name(node): node for node in self.order}
        self._stream = self._reached(lambda node: node.get_type_name() == "Parameter" and _is_tokens(node))
        states = self._reached(lambda node: node.get_type_name() == "ReadValue")
        self._data = self._stream | states
        """What a part does not compute anew: what depends on the values of tokens, or on a state."""
        # Names are those of a file, and nothing keeps two nodes from having one.
        possible = self._narrow() if len(self.nodes) == len(self.order) else []
        self.cuts = [name for name in possible if cuts is None or name in cuts]
        self._part_of, self._finest = self._placed(self.cuts), self._placed(possible)
        """The part of each node that no other computes: as it is cut, and if it were cut wherever it may be."""

    @property
    def parts(self) -> int:
        """How many there are."""
        return len(self.cuts) + 1

    def merged(self, most_bytes: int) -> list[str]:
        """Return the cuts that are left when parts one after the other are made one while their weights take no more."""
        weights = self._weights()
        left, size = [], weights[0]
        for cut, each in zip(self.cuts, weights[1:], strict=True):
            if size + each > most_bytes:
                left.append(cut)
                size = 0
            size += each
        return left

    def part(self, model: Any, number: int, dtype: str, shapes: bool = False) -> Part:
        """Take a part out of a graph, which is good for nothing after that.

        Args:
            model: the graph, read anew.
            number: of the part, from 0.
            dtype: what real numbers are given in, by OpenVINO's name. What a plugin computes in less than float32 it would
                compute in float32 if it were given so (a graph's end).
            shapes: return what gives the shapes that other parts ask for, and nothing else: whatever such a shape is read of
                would be computed in float32, too, in a graph that gives it beside other tensors.
        """
        given = [
            each for each, (home, _) in self._crossing.items() if home == number and self._is_shape(each) == shapes
        ]
        taken = [each for each, (_, parts) in self._crossing.items() if number in parts]
        nodes = {_name(node): node for node in model.get_ordered_ops()}
        placed = [node for name, node in nodes.items() if self._part_of.get(name) == number]
        sinks = [node for node in placed if node.get_type_name() == "Assign"]
        results = [node for node in placed if node.get_type_name() == "Result" and not shapes]
        if shapes and given:
            # States of later blocks would bring these with them.
            last = max(self._finest[_name(_below(self.nodes[each.node])[0])] for each in given)
            sinks = [node for node in sinks if self._finest[_name(node)] <= last]
        results += [_result(nodes[each.node].output(each.index), dtype) for each in given]
        stand_ins = [_stand_in(nodes[each.node].output(each.index), dtype) for each in taken]
        return _extracted(sinks, results, stand_ins, tuple(taken), tuple(given))

    def gives_shapes(self, number: int) -> bool:
        """Whether other parts ask for the shape of something that this one computes."""
        return any(home == number and self._is_shape(each) for each, (home, _) in self._crossing.items())

    def needed_after(self, number: int) -> set[Tensor]:
        """Return what parts after this one take of it and those before."""
        return {each for each, (_, parts) in self._crossing.items() if max(parts) > number}

    def _is_shape(self, tensor: Tensor) -> bool:
        return bool(self.nodes[tensor.node].get_type_name() == "ShapeOf")

    def _reached(self, is_source: Callable[[Any], bool], through_shapes: bool = False) -> set[str]:
        """Names of nodes whose values depend on those of a source."""
        found: set[str] = set()
        for node in self.order:
            below = () if node.get_type_name() == "ShapeOf" and not through_shapes else _below(node)
            if is_source(node) or any(_name(each) in found for each in below):
                found.add(_name(node))
        return found

    def _narrow(self) -> list[str]:
        """Nodes after which nothing that was computed before is read, and which several read: a cut may not part what a
        plugin computes as one."""
        stream = [
            node
            for node in self.order
            if _name(node) in self._stream and node.get_type_name() not in (*_ENDS, "Parameter")
        ]
        places = {_name(node): place for place, node in enumerate(stream)}
        found, furthest = [], -1
        for place, node in enumerate(stream):
            readers = {
                _name(reader.get_node()) for output in node.outputs() for reader in output.get_target_inputs()
            } & places.keys()
            if furthest <= place and len(readers) > 1 and len(node.outputs()) == 1:
                found.append(_name(node))
            furthest = max([furthest, *(places[reader] for reader in readers)])
        return found

    def _placed(self, cuts: Sequence[str]) -> dict[str, int]:
        begins = {name: number for number, name in enumerate(cuts, 1)}
        written: dict[str, int] = {}
        while True:
            placed: dict[str, int] = {}
            for node in self.order:
                name = _name(node)
                if node.get_type_name() == "ReadValue":
                    placed[name] = written.get(node.get_variable_id(), 0)
                elif name in self._data:
                    below = [_name(each) for each in _below(node) if _name(each) in self._data]
                    placed[name] = max((begins.get(each, placed[each]) for each in below), default=0)
            ends = (node for node in self.order if node.get_type_name() == "Assign")
            now = {node.get_variable_id(): placed.get(_name(node), 0) for node in ends}
            if now == written:
                return placed
            written = now

    def _home(self, node: Any) -> int | None:
        """The part that computes a node; None: whichever reads it."""
        if node.get_type_name() == "ShapeOf" and _name(node) not in self._data:
            return self._part_of.get(_name(_below(node)[0]))
        return self._part_of.get(_name(node))

    @cached_property
    def _crossing(self) -> dict[Tensor, tuple[int, set[int]]]:
        """What one part computes and others read: the one, and the others."""
        found: dict[Tensor, tuple[int, set[int]]] = {}
        seen: set[tuple[str, int]] = set()
        left = [(node, home) for node in self.order if (home := self._home(node)) is not None]
        while left:
            node, reader = left.pop()
            if (_name(node), reader) in seen:
                continue
            seen.add((_name(node), reader))
            for each in _sources(node):
                home = self._home(each.get_node())
                if home is None:
                    left.append((each.get_node(), reader))
                elif home != reader:
                    found.setdefault(Tensor(_name(each.get_node()), each.get_index()), (home, set()))[1].add(reader)
        return found

    def _weights(self) -> list[int]:
        """Bytes of the constants of each part that its products read. Rows of embeddings are looked up, where they are."""
        varying = self._reached(lambda node: node.get_type_name() in ("Parameter", "ReadValue"), through_shapes=True)
        sizes = [0] * self.parts
        for node in self.order:
            if (home := self._part_of.get(_name(node))) is not None and node.get_type_name() != "Gather":
                sizes[home] += sum(_constant_bytes(each) for each in _below(node) if _name(each) not in varying)
        return sizes


def _extracted(
    sinks: Sequence[Any],
    results: Sequence[Any],
    stand_ins: Sequence[Any],
    taken: tuple[Tensor, ...],
    given: tuple[Tensor, ...],
) -> Part:
    """A graph of what results and written states are computed of."""
    from openvino import Model

    reached: dict[str, Any] = {}
    left = [*results, *sinks]
    while left:
        node = left.pop()
        if _name(node) not in reached:
            reached[_name(node)] = node
            left += _below(node)
    needed = [
        (parameter, tensor) for parameter, tensor in zip(stand_ins, taken, strict=True) if _name(parameter) in reached
    ]
    standing = {_name(parameter) for parameter in stand_ins}
    own = [node for name, node in reached.items() if node.get_type_name() == "Parameter" and name not in standing]
    graph = Model(list(results), list(sinks), [*own, *(parameter for parameter, _ in needed)], "part")
    names = tuple(str(node.output(0).get_any_name()) for node in own)
    return Part(graph, names, tuple(tensor for _, tensor in needed), given)


def _result(output: Any, dtype: str) -> Any:
    from openvino import opset13 as ops

    return ops.result(ops.convert(output, dtype) if output.get_element_type().is_real() else output)


def _stand_in(output: Any, dtype: str) -> Any:
    """An input in place of what another part gives."""
    from openvino import Type
    from openvino import opset13 as ops

    kind, readers = output.get_element_type(), list(output.get_target_inputs())
    parameter = ops.parameter(output.get_partial_shape(), getattr(Type, dtype) if kind.is_real() else kind)
    source = ops.convert(parameter, kind) if kind.is_real() else parameter
    for reader in readers:
        reader.replace_source_output(source.output(0))
    return parameter


def _constant_bytes(node: Any) -> int:
    """Bytes of the constants that a node without inputs is computed of."""
    if node.get_type_name() == "Constant":
        output = node.output(0)
        return int(prod(output.get_shape()) * output.get_element_type().bitwidth // 8)
    return sum(_constant_bytes(each) for each in _below(node))


def _is_tokens(node: Any) -> bool:
    return any(name in TOKENS for name in node.output(0).get_names())


def _name(node: Any) -> str:
    return str(node.get_friendly_name())


def _sources(node: Any) -> Iterator[Any]:
    return (value.get_source_output() for value in node.inputs())


def _below(node: Any) -> list[Any]:
    return [output.get_node() for output in _sources(node)]
