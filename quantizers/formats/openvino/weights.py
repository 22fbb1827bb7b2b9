"""Weights of a compressed-tensors artifact inside an OpenVINO graph: the same integers, scales and zero points.

A constant becomes what NNCF writes, and what OpenVINO's plugins keep compressed in memory:
codes → Convert → Subtract(zero points) → Multiply(scales) → Reshape → Convert(f32).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import openvino
import torch
from openvino import opset13 as ops

from quantizers.formats.openvino.compressed import Compressed, read
from quantizers.formats.openvino.pending import Pending, kept
from quantizers.model.checkpoint import Checkpoint

HALVES = {torch.bfloat16: openvino.Type.bf16, torch.float16: openvino.Type.f16}

_SCOPE = re.compile(r"__module\.([^/]+)/")


def within(graph: openvino.Model, path: str) -> None:
    """Give the weights of a graph that was exported from one module of a model the names that the model has for them."""
    for constant in graph.get_ordered_ops():
        name = constant.get_friendly_name()
        if constant.get_type_name() == "Constant" and name.startswith("self."):
            constant.set_friendly_name(f"self.{path}.{name.removeprefix('self.')}")


def name_again(graph: openvino.Model) -> None:
    """Give weights that a pass has rounded, and left without names, those of the modules that multiply with them; in place."""
    for product in graph.get_ordered_ops():
        scope = _SCOPE.match(product.get_friendly_name())
        if product.get_type_name() != "MatMul" or scope is None:
            continue
        node = product.input_value(1).get_node()
        while node.get_type_name() in ("Convert", "Multiply", "Subtract", "Reshape", "Transpose"):
            node = node.input_value(0).get_node()
        if node.get_type_name() == "Constant" and not node.get_friendly_name().startswith("self."):
            node.set_friendly_name(f"self.{scope[1]}.weight")


def replace(graph: openvino.Model, modules: frozenset[str], weight: Compressed, pending: Pending) -> bool:
    """Have every reader of the weight of `modules`, which share it, read `weight` instead; in place. Returns whether any did."""
    constants = [op for op in graph.get_ordered_ops() if op.get_type_name() == "Constant" and _module(op) in modules]
    if not constants:
        return False
    _read_instead(constants, decompressed(constants[0].get_friendly_name(), weight, pending))
    graph.validate_nodes_and_infer_types()
    return True


def narrow(graph: openvino.Model, artifact: Checkpoint, pending: Pending) -> None:
    """Store matrices that the artifact has in 16 bits, and that the exporter widened, in 16 bits again; in place.

    It leaves alone what is exactly an `nn.Linear` or `nn.Embedding`, and widens subclasses: OPT's position embeddings.
    """
    for constant in graph.get_ordered_ops():
        if constant.get_type_name() != "Constant" or constant.get_element_type() != openvino.Type.f32:
            continue
        stored = artifact.tensors.get(f"{_module(constant)}.weight")
        if (
            stored is None
            or stored.dtype not in HALVES
            or tuple(constant.shape) != stored.shape
            or len(stored.shape) < 2
        ):
            continue
        name = constant.get_friendly_name()
        half = pending.constant(name, HALVES[stored.dtype], stored.shape, kept(artifact, f"{_module(constant)}.weight"))
        _read_instead([constant], ops.convert(half, openvino.Type.f32, name=f"{name}/f32"))
    graph.validate_nodes_and_infer_types()


def keep(graph: openvino.Model, artifact: Checkpoint, untouched: Mapping[str, str], pending: Pending) -> set[str]:
    """Give weights that the exporter saw as zeros what the artifact stores; in place. Returns the tensors.

    Args:
        graph: as it was exported.
        artifact: holds them.
        untouched: by module, the tensor in the artifact.
        pending: takes them.
    """
    found = set()
    for constant in graph.get_ordered_ops():
        module = _module(constant)
        if constant.get_type_name() != "Constant" or module not in untouched:
            continue
        tensor, readers = untouched[module], constant.output(0).get_target_inputs()
        found.add(tensor)
        name, type_ = constant.get_friendly_name(), HALVES[artifact.tensors[tensor].dtype]
        if name in pending:  # it was narrowed
            continue
        stored = pending.constant(name, type_, constant.shape, kept(artifact, tensor))
        stored.output(0).get_tensor().set_names(constant.output(0).get_names())
        for reader in readers:
            reader.replace_source_output(stored.output(0))
    graph.validate_nodes_and_infer_types()
    return found


def _read_instead(constants: list[openvino.Node], dense: openvino.Node) -> None:
    """Have every reader of some constants, converted or not, read `dense`."""
    for constant in constants:
        for reader in constant.output(0).get_target_inputs():
            node = reader.get_node()
            widened = node.get_type_name() == "Convert"
            for each in node.output(0).get_target_inputs() if widened else (reader,):
                each.replace_source_output(dense.output(0))


def _module(constant: openvino.Node) -> str:
    name: str = constant.get_friendly_name().removeprefix("self.").removesuffix("._openvino_orig_weight")
    return name.removesuffix(".weight")


def put(graph: openvino.Model, artifact: Checkpoint, linears: tuple[str, ...], pending: Pending) -> None:
    """Replace the weight of each of `linears` in an exported graph, in place, by what the artifact holds.

    Raises:
        AssertionError: a linear has no product of its own in the graph, or one of another shape.
    """
    dense: dict[str, openvino.Node] = {}
    for product in graph.get_ordered_ops():
        if product.get_type_name() != "MatMul":
            continue
        constant = constant_below(product.input_value(1).get_node())
        if constant is None:
            continue
        linear = _module(constant)
        if linear not in linears:
            linear = linear.removeprefix("model.")  # the exporter wraps Perceiver in a module of its own
        if linear not in linears:
            continue
        if linear in dense:  # a block that is called more than once
            _replace(product, dense[linear])
            continue
        weight = read(artifact, linear)
        if int(np.prod(list(constant.shape))) != int(np.prod(weight.shape)):
            raise AssertionError(
                f"{linear} is {list(constant.shape)} in the exported graph, but {weight.shape} in the artifact"
            )
        dense[linear] = decompressed(constant.get_friendly_name(), weight, pending)
        _replace(product, dense[linear])
    if missing := set(linears) - dense.keys():
        raise AssertionError(f"the exported graph has no product with {sorted(missing)[0]}, {len(missing)} in all")
    graph.validate_nodes_and_infer_types()


def constant_below(node: openvino.Node) -> openvino.Node | None:
    """The constant that a node reads, as it is or converted and transposed; None for any other."""
    while node.get_type_name() in ("Convert", "Transpose"):
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "Constant" else None


def _replace(product: openvino.Node, dense: openvino.Node) -> None:
    transposed = product.get_attributes()["transpose_a"]
    twin = ops.matmul(product.input_value(0), dense, transpose_a=transposed, transpose_b=True)
    twin.set_friendly_name(product.get_friendly_name())
    twin.output(0).get_tensor().set_names(product.output(0).get_names())
    for reader in product.output(0).get_target_inputs():
        reader.replace_source_output(twin.output(0))


def decompressed(name: str, weight: Compressed, pending: Pending) -> openvino.Node:
    """The subgraph, float32 `[..., out, in]`, that restores a weight; its constants are `name` and below it."""
    *rows, groups, size = weight.shape
    stored = weight.scales
    # As NNCF has it: one group to a row is a matrix, several are a third dimension.
    grouped = [*rows, groups, size] if groups > 1 else [*rows, size]
    single = [*grouped[:-1], 1]
    dense = ops.convert(pending.constant(name, weight.type, grouped, weight.codes), stored, name=f"{name}/convert")
    if weight.zero is not None:
        zero = pending.constant(f"{name}/zero_point", weight.type, single, weight.zero)
        zero = ops.convert(zero, stored, name=f"{name}/zero_point/convert")
        dense = ops.subtract(dense, zero, name=f"{name}/zero_point/subtract")
    scale = pending.constant(f"{name}/scale", stored, single, weight.scale)
    dense = ops.multiply(dense, scale, name=f"{name}/scaled")
    if groups > 1:
        shape = ops.constant([*rows, groups * size], dtype=openvino.Type.i64, name=f"{name}/shape")
        dense = ops.reshape(dense, shape, special_zero=False, name=f"{name}/reshape")
    return dense if stored == openvino.Type.f32 else ops.convert(dense, openvino.Type.f32, name=f"{name}/f32")
