"""OpenVINO IR: written without a trace of the process that made it, and checked against what the recipe implies."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import openvino
import torch
from optimum.intel import OVConfig, OVWeightQuantizationConfig

from catalog.dtypes import DTYPES
from catalog.task import Task
from catalog.tasks import TASKS
from quantizers.engines.nncf_options import NncfOptions
from quantizers.formats.openvino import vision
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.skeleton import Skeleton
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
    _compress_cache(model)
    number(model)
    openvino.save_model(model, path, compress_to_fp16=False)


def number(model: openvino.Model) -> None:
    """Name by its place in the graph what is named by a counter of the process; in place."""
    for index, op in enumerate(model.get_ordered_ops()):
        if _COUNTED.fullmatch(op.get_friendly_name()):
            op.set_friendly_name(f"{op.get_type_name()}_{index}")
        for port, output in enumerate(op.outputs()):
            names = output.get_names()
            if counted := {name for name in names if _COUNTED.fullmatch(name)}:
                output.get_tensor().set_names(names - counted | {f"{op.get_type_name()}_{index}.{port}"})


def _compress_cache(model: openvino.Model) -> None:
    """Leave the precision of keys and values to the runtime, as optimum-intel does in what it compresses.

    The exporter, which is given no compressed weights, asks for float16.
    """
    if model.has_rt_info(["runtime_options", "KV_CACHE_PRECISION"]):
        options = model.get_rt_info("runtime_options").value
        told = {name: each for name, each in options.items() if name != "KV_CACHE_PRECISION"}
        model.set_rt_info(told, "runtime_options")


def write_configuration(directory: Path, recipe: Recipe) -> None:
    """Write what optimum-intel writes beside an IR that it quantized: how that was done, in its own terms.

    Of int8 its vocabulary knows one scale per output channel alone: other group sizes it is not told.
    """
    tellable = recipe.dtype in ("int4", "int8", "nf4", "mxfp4") and (recipe.bits == 4 or recipe.group_size == -1)
    asked = {"bits": recipe.bits, "sym": recipe.symmetric, "group_size": recipe.group_size, "ratio": recipe.ratio}
    dtype = recipe.dtype if DTYPES[recipe.dtype].codebook else f"int{recipe.bits}"
    config = OVWeightQuantizationConfig(**asked, dtype=dtype) if tellable else None
    OVConfig(quantization_config=config, dtype=dtype).save_pretrained(directory)


def check(directory: Path, recipe: Recipe, skeleton: Skeleton, checkpoint: Checkpoint, names: tuple[str, ...]) -> Made:
    """Hold what was exported against the recipe.

    Raises:
        AssertionError: a file is missing, or the weights are not of the size the recipe implies.
    """
    embeds = any(isinstance(module, torch.nn.Embedding) for module in skeleton.model.modules())
    expected = _implied(recipe, skeleton, checkpoint, set(names))
    written = weighed(directory, expected, TASKS[skeleton.task])
    return Made(
        recipe=recipe,
        expected_bytes=expected,
        weights_bytes=written,
        quantized=len(names),
        kept=len(skeleton.source) - len(names),
        notes=(_of_embeddings(recipe),) if embeds else (),
    )


def _of_embeddings(recipe: Recipe) -> str:
    options = recipe.nncf or NncfOptions()
    if options.all_layers:
        return f"embeddings are stored in {recipe.dtype}, as all linears"
    if options.backup == "none":
        return "embeddings are kept as they are"
    return "embeddings are stored in int8, one scale per row"


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


def unread(name: str, skeleton: Skeleton) -> bool:
    """Whether a module or tensor has no part in the task: a decoder without its encoder runs no cross-attention, and of a vision
    tower what is behind the layer whose states are taken is not run."""
    config, patterns = skeleton.model.config, TASKS[skeleton.task].unread
    if TASKS[skeleton.task].graphs[2:]:
        return any(fnmatchcase(name, pattern) for pattern in vision.unread(config))
    return not config.is_encoder_decoder and any(fnmatchcase(name, pattern) for pattern in patterns)


def _implied(recipe: Recipe, skeleton: Skeleton, checkpoint: Checkpoint, names: set[str]) -> int:
    embeddings = {
        f"{name}.weight" for name, module in skeleton.model.named_modules() if isinstance(module, torch.nn.Embedding)
    }
    head, options = list(skeleton.linears)[-1], recipe.nncf or NncfOptions()
    aside = (
        set() if options.all_layers else embeddings | ({f"{head}.weight"} if head not in _blocks(skeleton) else set())
    )
    total = 0.0
    for tensor, key in skeleton.source.items():
        if unread(tensor, skeleton):
            continue
        shape, itemsize = checkpoint.tensors[key].shape, checkpoint.tensors[key].dtype.itemsize
        linear = skeleton.by_weight.get(tensor)
        # An expert's tensor has another name than its linear.
        if tensor in embeddings or (linear is not None and linear.name in names):
            rows, columns = (linear.out_features, linear.in_features) if linear else shape
            total += _matrix(rows, columns, itemsize, recipe, wide=tensor in aside)
        else:
            total += torch.Size(shape).numel() * itemsize
    return round(total)


def _blocks(skeleton: Skeleton) -> set[str]:
    return {name for name in skeleton.linears if re.search(r"\.\d+\.", name)}


def _matrix(rows: int, columns: int, itemsize: int, recipe: Recipe, wide: bool) -> float:
    """Bytes of one linear or embedding; `wide`: it is stored in the backup precision, whatever `dtype` says."""
    options = recipe.nncf or NncfOptions()
    kept = rows * columns * itemsize
    backup = {"none": kept, "int8_sym": rows * (columns + 2), "int8_asym": rows * (columns + 3)}[options.backup]
    if recipe.bits == 8 or wide:
        return backup
    size = options.group_size(recipe.group_size, columns)
    if size is None:
        return kept if options.fallback == "ignore" else backup
    groups = rows * (1 if size == -1 else columns // size)
    scale = (DTYPES[recipe.dtype].scale_bits or 16) / 8
    narrow = rows * columns * recipe.bits / 8 + groups * (scale + (0 if recipe.symmetric else recipe.bits / 8))
    adapters = (options.lora_rank or 0) * (rows + columns)
    return recipe.ratio * (narrow + adapters) + (1 - recipe.ratio) * backup
