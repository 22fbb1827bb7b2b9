"""Weights of a compressed-tensors artifact inside an OpenVINO graph: the same integers, scales and zero points.

A constant becomes what NNCF writes, and what OpenVINO's plugins keep compressed in memory:
codes → Convert → Subtract(zero points) → Multiply(scales) → Reshape → Convert(f32).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import openvino
import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from openvino import opset13 as ops
from torch import Tensor

from catalog.dtypes import DTYPES
from quantizers.dtypes import grouped
from quantizers.model.checkpoint import Checkpoint
from quantizers.ranges.minmax import minmax
from quantizers.rounding.nearest import nearest

_TYPES = {
    (4, True): openvino.Type.i4,
    (4, False): openvino.Type.u4,
    (8, True): openvino.Type.i8,
    (8, False): openvino.Type.u8,
}
"""By bits and symmetry. OpenVINO's own integers of two and three bits are not compiled by its plugins."""

HALVES = {torch.bfloat16: openvino.Type.bf16, torch.float16: openvino.Type.f16}

_SCOPE = re.compile(r"__module\.([^/]+)/")

ROWS = 4096
"""Rows of an embedding that are held in float32 at a time."""


@dataclass(frozen=True)
class Compressed:
    """One linear, or one of each expert, in OpenVINO's terms."""

    type: openvino.Type
    shape: tuple[int, ...]
    """Experts if it is of a mixture, rows, groups, weights to a group."""
    codes: Tensor
    """uint8, packed low half first; signed types in two's complement."""
    zero: Tensor | None
    """uint8, packed likewise, one per row and group."""
    scale: Tensor
    """float16, one per row and group, where it holds every scale of the artifact exactly, else float32."""

    @property
    def bytes(self) -> int:
        """Size of all three."""
        return sum(part.nbytes for part in (self.codes, self.zero, self.scale) if part is not None)


def read(artifact: Checkpoint, *linears: str) -> Compressed:
    """Read a linear of a compressed-tensors artifact of int4 or int8 weights, or several, alike, one below the other."""
    rows, columns = artifact.whole(f"{linears[0]}.weight_shape").tolist()
    words = torch.cat([artifact.whole(f"{linear}.weight_packed") for linear in linears])
    scale = torch.cat([artifact.whole(f"{linear}.weight_scale") for linear in linears]).float()
    groups = scale.shape[1]
    bits = 4 if words.shape[1] == -(-columns * 4 // 32) else 8
    packed = words.view(torch.uint8)[:, : columns * bits // 8].contiguous()
    zero = None
    names = [f"{linear}.weight_zero_point" for linear in linears]
    if names[0] in artifact.tensors:
        each = torch.Size((rows, groups))
        signed = torch.cat([unpack_from_int32(artifact.whole(name), bits, each, packed_dim=0) for name in names])
        zero = _pack(signed + (1 << (bits - 1)), bits)
    else:
        # compressed-tensors stores every code with an offset of half its range; two's complement flips the top bit.
        packed ^= 0x88 if bits == 4 else 0x80
    half = scale.half()
    exact = torch.equal(half.float(), scale)
    shape = (len(linears) * rows, groups, columns // groups)
    return Compressed(_TYPES[bits, zero is None], shape, packed, zero, half if exact else scale)


def _pack(values: Tensor, bits: int) -> Tensor:
    flat = values.view(torch.uint8).flatten()
    if bits == 8:
        return flat
    pairs = torch.nn.functional.pad(flat, (0, len(flat) % 2)).view(-1, 2)
    return pairs[:, 0] | pairs[:, 1] << 4


def rounded(weight: Tensor) -> Compressed:
    """A matrix `[rows, columns]` rounded to nearest in 8 bits, asymmetric, one scale a row, as NNCF stores embeddings."""
    kind = DTYPES["int8"].grid(False)
    parts = []
    for rows in torch.split(weight, ROWS):
        wide = rows.float()
        scale, zero = minmax(grouped(wide, -1), kind, torch.float16)
        parts.append(nearest(wide, scale, zero, kind, -1))
    codes = torch.cat([part.codes for part in parts]).view(torch.uint8) ^ 0x80
    zeros = torch.cat([part.zero for part in parts if part.zero is not None]).view(torch.uint8) ^ 0x80
    scales = torch.cat([part.scale for part in parts]).half()
    return Compressed(openvino.Type.u8, (*weight.shape[:1], 1, *weight.shape[1:]), codes, zeros.flatten(), scales)


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


def replace(graph: openvino.Model, modules: frozenset[str], weight: Compressed) -> None:
    """Have every reader of the weight of `modules`, which share it, read `weight` instead; in place.

    Raises:
        AssertionError: the graph has no such constant.
    """
    constants = [op for op in graph.get_ordered_ops() if op.get_type_name() == "Constant" and _module(op) in modules]
    if not constants:
        raise AssertionError(f"the exported graph has no weight of {sorted(modules)[0]}")
    _read_instead(constants, decompressed(constants[0].get_friendly_name(), weight))
    graph.validate_nodes_and_infer_types()


def narrow(graph: openvino.Model, artifact: Checkpoint) -> None:
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
        kept = packed(name, HALVES[stored.dtype], list(stored.shape), artifact.whole(f"{_module(constant)}.weight"))
        _read_instead([constant], ops.convert(kept, openvino.Type.f32, name=f"{name}/f32"))
    graph.validate_nodes_and_infer_types()


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


def put(graph: openvino.Model, artifact: Checkpoint, linears: tuple[str, ...]) -> None:
    """Replace the weight of each of `linears` in an exported graph, in place, by what the artifact holds.

    Raises:
        AssertionError: a linear has no product of its own in the graph, or one of another shape.
    """
    missing = set(linears)
    for product in graph.get_ordered_ops():
        if product.get_type_name() != "MatMul":
            continue
        constant = constant_below(product.input_value(1).get_node())
        if constant is None:
            continue
        linear = _module(constant)
        if linear not in missing:
            continue
        missing.remove(linear)
        weight = read(artifact, linear)
        if int(np.prod(list(constant.shape))) != int(np.prod(weight.shape)):
            raise AssertionError(
                f"{linear} is {list(constant.shape)} in the exported graph, but {weight.shape} in the artifact"
            )
        _replace(product, decompressed(constant.get_friendly_name(), weight))
    if missing:
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


def decompressed(name: str, weight: Compressed) -> openvino.Node:
    """The subgraph, float32 `[..., out, in]`, that restores a weight; its constants are `name` and below it."""
    *rows, groups, size = weight.shape
    stored = openvino.Type.f16 if weight.scale.dtype == torch.float16 else openvino.Type.f32
    # As NNCF has it: one group to a row is a matrix, several are a third dimension.
    grouped = [*rows, groups, size] if groups > 1 else [*rows, size]
    single = [*grouped[:-1], 1]
    dense = ops.convert(packed(name, weight.type, grouped, weight.codes), stored, name=f"{name}/convert")
    if weight.zero is not None:
        zero = packed(f"{name}/zero_point", weight.type, single, weight.zero)
        zero = ops.convert(zero, stored, name=f"{name}/zero_point/convert")
        dense = ops.subtract(dense, zero, name=f"{name}/zero_point/subtract")
    scale = ops.constant(weight.scale.reshape(single).numpy(), dtype=stored, name=f"{name}/scale")
    dense = ops.multiply(dense, scale, name=f"{name}/scaled")
    if groups > 1:
        shape = ops.constant([*rows, groups * size], dtype=openvino.Type.i64, name=f"{name}/shape")
        dense = ops.reshape(dense, shape, special_zero=False, name=f"{name}/reshape")
    return dense if stored == openvino.Type.f32 else ops.convert(dense, openvino.Type.f32, name=f"{name}/f32")


def packed(name: str, type_: openvino.Type, shape: list[int], data: Tensor) -> openvino.Node:
    """A constant of that shape whose bytes are those of `data`."""
    # Copied: a shared constant does not keep the memory it looks at alive.
    tensor = openvino.Tensor(data.contiguous().view(torch.uint8).flatten().numpy(), openvino.Shape(shape), type_)
    return ops.constant(tensor, shared_memory=False, name=name)
