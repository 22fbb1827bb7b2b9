"""OpenVINO IR: written without a trace of the process that made it, and checked against what the recipe implies."""

from __future__ import annotations

import re
from pathlib import Path

import openvino
import torch
from optimum.intel import OVConfig, OVWeightQuantizationConfig

from catalog.dtypes import DTYPES
from catalog.task import Task
from catalog.tasks import TASKS
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.skeleton import Linear, Skeleton
from quantizers.recipe import Recipe
from quantizers.request import Made

TOLERANCE = 0.05
"""Share of the implied size by which shape constants, rotary tables and the exporter's folding may move it."""

FILES = ("config.json", "openvino_config.json")
"""What optimum-intel reads, beside the graphs of the task."""
TOKENIZER = tuple(f"openvino_{part}.{ending}" for part in ("tokenizer", "detokenizer") for ending in ("xml", "bin"))
"""What OpenVINO GenAI reads of a tokenizer."""

_COUNTED = re.compile(r"[A-Z][A-Za-z0-9]*_\d+(\.\d+)?")


def node(linear: str) -> str:
    """Regular expression for the scope the exporter gives the nodes of a linear."""
    return re.escape(f"__module.{linear}")


def save(model: openvino.Model, path: Path) -> None:
    """Write xml and bin. What was numbered by a counter of the process is numbered by its place in the graph."""
    model.set_friendly_name("model")
    for index, op in enumerate(model.get_ordered_ops()):
        if _COUNTED.fullmatch(op.get_friendly_name()):
            op.set_friendly_name(f"{op.get_type_name()}_{index}")
        for port, output in enumerate(op.outputs()):
            names = output.get_names()
            if counted := {name for name in names if _COUNTED.fullmatch(name)}:
                output.get_tensor().set_names(names - counted | {f"{op.get_type_name()}_{index}.{port}"})
    openvino.save_model(model, path, compress_to_fp16=False)


def write_configuration(directory: Path, recipe: Recipe) -> None:
    """Write what optimum-intel writes beside an IR that it quantized: how that was done, in its own terms.

    Of int8 its vocabulary knows one scale per output channel alone: other group sizes it is not told.
    """
    tellable = recipe.bits == 4 or recipe.group_size == -1
    asked = {"bits": recipe.bits, "sym": recipe.symmetric, "group_size": recipe.group_size, "ratio": recipe.ratio}
    dtype = recipe.dtype if DTYPES[recipe.dtype].codebook else f"int{recipe.bits}"
    config = OVWeightQuantizationConfig(**asked, dtype=dtype) if tellable else None
    OVConfig(quantization_config=config, dtype=dtype).save_pretrained(directory)


def check(directory: Path, recipe: Recipe, skeleton: Skeleton, checkpoint: Checkpoint, names: tuple[str, ...]) -> Made:
    """Hold what was exported against the recipe.

    Raises:
        AssertionError: a file is missing, or the weights are not of the size the recipe implies.
    """
    expected = _implied(recipe, skeleton, checkpoint, set(names))
    written = weighed(directory, expected, TASKS[skeleton.task])
    return Made(
        recipe=recipe,
        expected_bytes=expected,
        weights_bytes=written,
        quantized=len(names),
        kept=len(skeleton.source) - len(names),
        notes=("embeddings are stored in int8, one scale per row",),
    )


def weighed(directory: Path, expected: int, task: Task) -> int:
    """Size of the weights in a directory of IR for a task, in bytes.

    Raises:
        AssertionError: a file is missing, or the size is not the `expected` one.
    """
    graphs, tokenizer = task.graphs, TOKENIZER if task.tokenizes else ()
    wanted = (*FILES, *tokenizer, *(f"{graph}.{ending}" for graph in graphs for ending in ("xml", "bin")))
    missing = [name for name in wanted if not (directory / name).is_file()]
    if missing:
        raise AssertionError(f"the OpenVINO export in {directory} has no {', '.join(missing)}")
    written = sum((directory / f"{graph}.bin").stat().st_size for graph in graphs)
    if abs(written - expected) > TOLERANCE * expected + (1 << 16):
        raise AssertionError(
            f"{' and '.join(graphs)}: {written} bytes where the recipe implies {expected}: "
            "the exporter stored some layers in another precision than it was told"
        )
    return written


def _implied(recipe: Recipe, skeleton: Skeleton, checkpoint: Checkpoint, names: set[str]) -> int:
    embeddings = {
        f"{name}.weight" for name, module in skeleton.model.named_modules() if isinstance(module, torch.nn.Embedding)
    }
    head = list(skeleton.linears)[-1]
    total = 0.0
    unread = TASKS[skeleton.task].unread
    for tensor, key in skeleton.source.items():
        if tensor.startswith(unread):
            continue
        shape, linear = checkpoint.tensors[key].shape, skeleton.by_weight.get(tensor)
        if linear is not None and linear.name in names:
            total += _linear(linear, recipe, wide=linear.name == head and head not in _blocks(skeleton))
        elif tensor in embeddings:
            total += shape[0] * (shape[1] + 3)
        else:
            total += torch.Size(shape).numel() * checkpoint.tensors[key].dtype.itemsize
    return round(total)


def _blocks(skeleton: Skeleton) -> set[str]:
    return {name for name in skeleton.linears if re.search(r"\.\d+\.", name)}


def _linear(linear: Linear, recipe: Recipe, wide: bool) -> float:
    rows, columns = linear.out_features, linear.in_features
    byte = rows * (columns + 3)
    if recipe.bits == 8 or wide:
        return byte
    groups = rows * (1 if recipe.group_size == -1 else columns // recipe.group_size)
    scale = (DTYPES[recipe.dtype].scale_bits or 16) / 8
    narrow = rows * columns / 2 + groups * (scale + (0 if recipe.symmetric else 0.5))
    return recipe.ratio * narrow + (1 - recipe.ratio) * byte
