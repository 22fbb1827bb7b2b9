"""A graph of OpenVINO that tells how large its activations become: a copy beside the one that is judged, in float32 on the CPU.

A device that computes in fp16 would show infinities at best, and fuses most of what is looked at here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gates.evaluation.activations import Watch
from gates.evidence import FP16_MAX

_LOOKED_AT = frozenset({"MatMul", "Add", "Multiply"})
"""Operations that linears, norms, gates and residual sums end with."""


class Instrumented:
    """One graph, of a decoder or an encoder, run on its own."""

    def __init__(self, graph: Any, watch: Watch) -> None:
        from openvino import Core

        copy = graph.clone()
        seen = list(_activations(copy))
        self.own = len(copy.outputs)
        copy.add_outputs([output for _, node in seen for output in _told(node)])
        self._layers = [name for name, _ in seen]
        self._watch = watch
        compiled = Core().compile_model(
            copy, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
        )
        self._request, self._inputs = compiled.create_infer_request(), [each.get_any_name() for each in compiled.inputs]
        self._outputs = [each.get_any_name() for each in compiled.outputs[: self.own]]

    def run(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run one batch, with what models make of its ids themselves, and count; return the graph's own outputs."""
        whole = {**_beside(given["input_ids"]), **given} if "input_ids" in given else given
        feed = {name: np.ascontiguousarray(whole[name].numpy()) for name in self._inputs}
        self._request.reset_state()
        results = list(self._request.infer(feed).values())
        told = results[self.own :]
        for layer, largest, beyond in zip(self._layers, told[::2], told[1::2], strict=True):
            self._watch.add(layer, float(largest), int(beyond))
        return {name: torch.from_numpy(np.array(each)) for name, each in zip(self._outputs, results, strict=False)}


def _beside(ids: Tensor) -> dict[str, Tensor]:
    return {
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": torch.zeros_like(ids),
        "position_ids": torch.arange(ids.shape[1]).expand_as(ids),
        "beam_idx": torch.arange(len(ids), dtype=torch.int32),
    }


def _activations(graph: Any) -> Iterator[tuple[str, Any]]:
    """Operations that depend on the input and hold one number for each token and channel, with the module they are of.

    Of three dimensions, the last of known size: masks and attention scores have four, mean squares a last one of 1, angles
    of positions one that is not known.
    """
    live: set[str] = set()
    for node in graph.get_ordered_ops():
        before = (value.get_source_output().get_node().get_friendly_name() for value in node.inputs())
        if node.get_type_name() not in ("Parameter", "ReadValue") and not any(name in live for name in before):
            continue
        name = node.get_friendly_name()
        live.add(name)
        if node.get_type_name() not in _LOOKED_AT or not node.get_output_element_type(0).is_real():
            continue
        shape = node.get_output_partial_shape(0)
        if shape.rank.is_static and len(shape) == 3 and shape[2].is_static and shape[2].get_length() > 1:
            yield name.removeprefix("__module.").partition("/")[0], node


def _told(node: Any) -> tuple[Any, Any]:
    """The largest magnitude of a node, and how many are beyond fp16 or are no number."""
    from openvino import opset13 as ops

    size = ops.abs(node)
    axes = np.arange(3)
    within = ops.less_equal(size, np.float32(FP16_MAX))
    beyond = ops.reduce_sum(ops.convert(ops.logical_not(within), "i64"), axes, keep_dims=False)
    return ops.reduce_max(size, axes, keep_dims=False).output(0), beyond.output(0)
