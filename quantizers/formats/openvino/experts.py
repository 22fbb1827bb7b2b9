"""The experts of a mixture in an OpenVINO graph: one product for each matrix, with that of all experts at once.

optimum-intel traces `gate`, `up` and `down` of a block as three batched products, and OpenVINO's CPU plugin runs, of each,
the chosen experts alone. The exporter is given experts of very few channels inside, a width that occurs nowhere else in
the graph: their real weights, tens of gigabytes in float32, never come near it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import openvino
import torch
from openvino import opset13 as ops
from torch import nn

from quantizers.families.experts import Experts, of, stacks
from quantizers.formats.openvino import weights
from quantizers.formats.openvino.compressed import read
from quantizers.formats.openvino.pending import Pending, kept
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.skeleton import Skeleton

_TYPES = {torch.float32: openvino.Type.f32, torch.float16: openvino.Type.f16, torch.bfloat16: openvino.Type.bf16}
_INNER = 2
"""Channels inside the experts that the exporter sees."""


def stand_in(experts: Experts) -> nn.Module:
    """transformers' own module, narrow, its three matrices filled with 1, 2 and 3 to be told apart by."""
    stock = experts.stock
    both, down = (
        torch.empty(experts.count, *shape, dtype=torch.bfloat16)
        for shape in ((2 * _INNER, experts.hidden), (experts.hidden, _INNER))
    )
    for mark, part in enumerate((*torch.split(both, _INNER, dim=1), down), 1):
        part.fill_(mark)
    stock.gate_up_proj = nn.Parameter(both, requires_grad=False)
    stock.down_proj = nn.Parameter(down, requires_grad=False)
    return stock


def put(
    graph: openvino.Model, skeleton: Skeleton, artifact: Checkpoint, quantized: frozenset[str], pending: Pending
) -> None:
    """Give the products with stand-ins, in place, the experts of the artifact: compressed, or as they are.

    Raises:
        AssertionError: a block's products are not the three that are looked for.
    """
    products = [op for op in graph.get_ordered_ops() if op.get_type_name() == "MatMul"]
    for path, experts in stacks(skeleton.model):
        marked = {
            mark: op
            for op in products
            if op.get_friendly_name().startswith(f"__module.{path}/") and (mark := _mark(op)) is not None
        }
        if sorted(marked) != [1, 2, 3]:
            raise AssertionError(f"the exported graph has not the three products of {path}")
        for mark, matrix in enumerate(experts.names, 1):
            linears = of(path, experts, matrix)
            # The gates know the experts by this name: the checkpoint's, with a star for the number.
            first = skeleton.kept_as(f"{linears[0]}.weight")
            name = f"self.{first.removesuffix(f'0.{matrix}.weight')}*.{matrix}.weight"
            dense = (
                _compressed(name, linears, artifact, pending)
                if linears[0] in quantized
                else _stacked(name, [skeleton.kept_as(f"{linear}.weight") for linear in linears], artifact, pending)
            )
            marked[mark].input(1).replace_source_output(dense.output(0))
    graph.validate_nodes_and_infer_types()


def _mark(product: openvino.Node) -> int | None:
    if not product.get_attributes()["transpose_b"]:
        return None
    constant = weights.constant_below(product.input_value(1).get_node())
    return None if constant is None else int(np.ravel(constant.get_data())[0])


def _compressed(name: str, linears: list[str], artifact: Checkpoint, pending: Pending) -> openvino.Node:
    rows = read(artifact, *linears)
    shape = (len(linears), rows.shape[0] // len(linears), *rows.shape[1:])
    return weights.decompressed(name, replace(rows, shape=shape), pending)


def _stacked(name: str, stored: list[str], artifact: Checkpoint, pending: Pending) -> openvino.Node:
    first = artifact.tensors[stored[0]]
    constant = pending.constant(name, _TYPES[first.dtype], (len(stored), *first.shape), kept(artifact, *stored))
    return ops.convert(constant, openvino.Type.f32, name=f"{name}/f32")
