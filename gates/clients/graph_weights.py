"""The dense weights of a graph of OpenVINO: the constants below its matrix products, decompressed by OpenVINO itself."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

AT_ONCE_WEIGHTS = 1 << 24
"""Weights that are unpacked at once: a head of half a billion would take 4 GB, and one of 65 million 0.8."""
_DECOMPRESSION = frozenset({"Convert", "Subtract", "Multiply", "Reshape", "Transpose", "Gather"})
_GIVEN = frozenset({"u4", "i4", "u8", "i8", "f16", "f32"})
"""Types of constants that a graph is given as inputs. What is constant throughout is folded when it is compiled, by reference
code of one thread: 17 ns a weight instead of 2.5."""


def weights_of(graph: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield name and weight, float32 (out, in), below each matrix product's second input; a large one in parts."""
    import openvino

    core = openvino.Core()
    for operation in graph.get_ordered_ops():
        if operation.get_type_name() != "MatMul":
            continue
        source = operation.input_value(1)
        constants = _constants(source.get_node())
        if constants is None:
            continue
        name = constants[0].removeprefix("self.").replace("._openvino_orig_weight", ".weight")
        transposed = operation.get_attributes()["transpose_b"]
        for dense in _dense(core, source.get_node(), transposed):
            if dense.dim() == 3:
                # One matrix of all experts, whose name has a star for their number.
                yield from ((name.replace("*", str(number)), expert) for number, expert in enumerate(dense))
            else:
                yield name, dense


def _dense(core: Any, node: Any, transposed: bool) -> Iterator[Tensor]:
    """Decompress a weight, float32 (out, in), in parts where it is a large one whose rows are those of its constants."""
    rows, *rest = node.get_output_shape(0)
    step = max(1, AT_ONCE_WEIGHTS // max(1, prod(rest)))
    starts = range(0, rows, step) if transposed and len(rest) == 1 and _divides(node, rows) else range(1)
    for start in starts:
        chosen = slice(start, min(start + step, rows)) if len(starts) > 1 else None
        dense = _decompressed(core, node, chosen)
        yield dense if transposed else dense.mT


def _divides(node: Any, rows: int) -> bool:
    """Whether a decompression is of constants of whole bytes that have so many rows, or one number."""
    if node.get_type_name() == "Constant":
        whole = node.get_output_element_type(0).bitwidth >= 8
        return bool(whole and (node.get_output_shape(0)[:1] == [rows] or prod(node.get_output_shape(0)) == 1))
    known = node.get_type_name() in ("Convert", "Subtract", "Multiply")
    return known and all(_divides(each, rows) for each in _below(node))


def _decompressed(core: Any, node: Any, rows: slice | None) -> Tensor:
    """Run a decompression, or some rows of it, with its constants as inputs."""
    import openvino

    given: list[tuple[Any, Any]] = []
    made = _rebuilt(node, rows, given)
    graph = openvino.Model([made.output(0)], [parameter for parameter, _ in given], "weight")
    request = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    request.infer({number: value for number, (_, value) in enumerate(given)})
    return torch.from_numpy(np.array(request.get_output_tensor(0).data))


def _rebuilt(node: Any, rows: slice | None, given: list[tuple[Any, Any]]) -> Any:
    """Return a decompression of inputs, which are noted with what they are, or of some rows of them.

    `openvino.Model.reshape`, which optimum-intel calls for all but decoders, makes shapes of weights that have several groups
    to a row depend on what these are multiplied with (smart reshape): they are what they come to.
    """
    from openvino import opset13 as ops

    kind = node.get_type_name()
    if kind == "Constant":
        return _given(node, rows, given)
    first, *others = _below(node)
    if kind == "Convert":
        return ops.convert(_rebuilt(first, rows, given), node.get_element_type())
    if kind == "Reshape":
        return ops.reshape(_rebuilt(first, rows, given), list(node.get_output_shape(0)), special_zero=False)
    if kind in ("Subtract", "Multiply"):
        operation = ops.subtract if kind == "Subtract" else ops.multiply
        return operation(*(_rebuilt(each, rows, given) for each in (first, *others)))
    return node


def _given(node: Any, rows: slice | None, given: list[tuple[Any, Any]]) -> Any:
    """An input in place of a constant, or of some of its rows; the constant itself where the CPU reads no such input."""
    import openvino
    from openvino import opset13 as ops

    kind, shape = node.get_output_element_type(0), list(node.get_output_shape(0))
    if prod(shape) == 1:
        return node
    if kind.get_type_name() not in _GIVEN:
        return node if rows is None else ops.slice(node, [rows.start], [rows.stop], [1], [0])
    if rows is not None:
        shape[0] = rows.stop - rows.start
    value = openvino.Tensor(kind, shape)
    value.data[...] = node.data if rows is None else node.data[rows]
    parameter = ops.parameter(shape, kind)
    given.append((parameter, value))
    return parameter


def _constants(node: Any) -> list[str] | None:
    """Names of the constants a weight is decompressed from, its own first; None for anything but a decompression."""
    if node.get_type_name() == "Constant":
        return [node.get_friendly_name()]
    if node.get_type_name() not in _DECOMPRESSION:
        return None
    below = [_constants(each) for each in (_below(node)[:1] if node.get_type_name() == "Reshape" else _below(node))]
    return None if any(names is None for names in below) else [name for names in below for name in names or ()]


def _below(node: Any) -> list[Any]:
    return [value.get_source_output().get_node() for value in node.inputs()]
