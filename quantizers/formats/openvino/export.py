"""A compressed-tensors artifact as OpenVINO IR: the graph from optimum-intel's exporter, the weights as they are.

The exporter is given a model whose large weights are untouched zero pages, which cost no memory; they are replaced in the
graph, and read when that is written. Norms and biases come from the artifact, where equivalent scales are folded into
them.
"""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import openvino
import torch
from optimum.exporters.openvino.convert import export_from_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from catalog.foreign_errors import machine_fault
from catalog.tasks import TASKS
from quantizers.artifact.target import Target
from quantizers.errors import QuantizeError
from quantizers.families.experts import stacked, stacks, unknown
from quantizers.families.mixture import MATRICES
from quantizers.formats.openvino import compressed, ir, tokenizer, weights
from quantizers.formats.openvino import experts as openvino_experts
from quantizers.formats.openvino.limits import not_kept, unexported
from quantizers.formats.openvino.pending import Pending, kept
from quantizers.model.checkpoint import Checkpoint, read_headers
from quantizers.model.companions import copy_companions
from quantizers.model.selection import other_formats
from quantizers.model.skeleton import Skeleton
from quantizers.request import Made


def require(model: Path, skeleton: Skeleton) -> None:
    """Refuse, before any work, a model that cannot become IR, or whose weights the graph cannot take over.

    Raises:
        QuantizeError: optimum-intel has no export for it, it has no tokenizer, experts are no linears, or rows do not fill
            bytes.
    """
    require_exportable(model, skeleton)
    _require_linears(model, skeleton)


def require_exportable(model: Path, skeleton: Skeleton) -> None:
    """Refuse, before any work, a model that optimum-intel does not export with this transformers, or that has no tokenizer.

    Raises:
        QuantizeError: says so.
    """
    kind = skeleton.model.config.model_type
    task = TASKS[skeleton.task]
    if text := not_kept(kind, task) or unexported(kind, task):
        raise QuantizeError(f"{model}: {text}. {other_formats(skeleton)}")
    if TASKS[skeleton.task].tokenizes:
        tokenizer.require(model)


def _require_linears(model: Path, skeleton: Skeleton) -> None:
    if unknown(skeleton.model):
        raise QuantizeError(
            f"{model}: a mixture of experts is written as OpenVINO IR if its model_type is {', '.join(MATRICES)}, and "
            f"this is {skeleton.model.config.model_type}. {other_formats(skeleton)}"
        )
    if odd := [linear for linear in skeleton.linears.values() if linear.in_features % 2]:
        raise QuantizeError(
            f"{model}: {odd[0].name} has {odd[0].in_features} inputs, an odd number, which OpenVINO's 4-bit types cannot "
            "hold row by row. Use format compressed-tensors for this model."
        )


def export(target: Target, made: Made, skeleton: Skeleton, checkpoint: Checkpoint, out: Path) -> Made:
    """Write a finished compressed-tensors artifact, of which `made` tells, as IR into `out`, tokenizers and all.

    Raises:
        QuantizeError: optimum-intel cannot export the model, or OpenVINO cannot express its tokenizer.
        AssertionError: the exporter's graph does not hold every linear, or the weights are not of the implied size.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    stored = Checkpoint(target.directory, {}, read_headers(target.directory))
    scratch = out / ".graph"
    large = _large(skeleton, stored, frozenset(target.linears))
    _trace(_filled(skeleton, stored, frozenset(target.linears) | large.keys()), skeleton.task, scratch)
    task = TASKS[skeleton.task]
    read = {name: slot for name, slot in target.slots.items() if not ir.unread(name, skeleton)}
    expected = sum(slot.bytes for name, slot in read.items() if not name.endswith(".weight_shape"))
    expected += _repeated(skeleton, target)
    seen: set[str] = set()
    for name, path, linears in _graphs(skeleton, target):
        graph, pending = openvino.Core().read_model(scratch / f"{name}.xml"), Pending()
        if path:
            weights.within(graph, path)
        weights.put(graph, stored, linears, pending)
        openvino_experts.put(graph, skeleton, stored, frozenset(target.linears), pending)
        weights.narrow(graph, stored, pending)
        if made.recipe.embeddings:
            rounded, change = _put_ends(graph, skeleton, stored, pending)
            seen, expected = seen | rounded, expected + change
        seen |= weights.keep(graph, stored, large, pending)
        ir.save(graph, out / f"{name}.xml")
        del graph
        pending.write(out / f"{name}.xml")
    if lost := {tensor for module, tensor in large.items() if not ir.unread(module, skeleton)} - seen:
        raise AssertionError(f"the exported graph has no weight {sorted(lost)[0]}, so it was made of zeros")
    shutil.rmtree(scratch)
    if task.tokenizes:
        tokenizer.convert(checkpoint.directory, out)
    copy_companions(checkpoint.directory, out, checkpoint.config)
    ir.write_configuration(out, made.recipe)
    return made.model_copy(update={"expected_bytes": expected, "weights_bytes": ir.weighed(out, expected, task)})


def _path(skeleton: Skeleton, module: nn.Module) -> str:
    """The path of a module."""
    path: str = next(name for name, each in skeleton.model.named_modules() if each is module)
    return path


def _graphs(skeleton: Skeleton, target: Target) -> list[tuple[str, str, tuple[str, ...]]]:
    """Of each graph of the task: its name, the path of the module it was exported from, empty for the model's own, and the
    quantized linears that are read there and are no experts."""
    task, left_out = TASKS[skeleton.task], stacked(skeleton.model)
    linears = tuple(name for name in target.linears if name not in left_out and not ir.unread(name, skeleton))
    if len(task.graphs) == 1:
        return [(task.graphs[0], "", linears)]
    if task.graphs[2:]:
        images, texts, language = task.graphs
        return [
            (images, "", ()),
            (texts, _path(skeleton, skeleton.model.get_input_embeddings()), ()),
            (language, "", linears),
        ]
    encoder, decoder = task.graphs
    path = _path(skeleton, skeleton.model.get_encoder())
    inside = tuple(name for name in linears if name.startswith(f"{path}."))
    return [(encoder, path, inside), (decoder, "", tuple(name for name in linears if name not in inside))]


def _repeated(skeleton: Skeleton, target: Target) -> int:
    """Bytes that are written once more than they are stored: embeddings that two parts with a graph each share."""
    graphs = TASKS[skeleton.task].graphs
    if len(graphs) == 1:
        return 0
    if graphs[2:]:
        table = f"{_path(skeleton, skeleton.model.get_input_embeddings())}.weight"
        return target.slots[table].bytes if table in skeleton.tied.values() else 0
    inside = f"{_path(skeleton, skeleton.model.get_encoder())}."
    shared = {twin for name, twin in skeleton.tied.items() if name.startswith(inside)}
    return sum(target.slots[name].bytes for name in shared if name in target.slots and not name.startswith(inside))


def _put_ends(graph: openvino.Model, skeleton: Skeleton, stored: Checkpoint, pending: Pending) -> tuple[set[str], int]:
    """Round the token embeddings and the head where the graph reads them: the tensors, and the change in bytes.

    An encoder that hears reads no tokens, nor does a model whose input embeddings are no table (Perceiver); a head that the
    recipe quantizes is no more in one tensor.
    """
    model, found, change = skeleton.model, set[str](), 0
    for end, kind in ((model.get_input_embeddings(), nn.Embedding), (model.get_output_embeddings(), nn.Linear)):
        name = next((name for name, module in model.named_modules() if module is end), None)
        if name is None or not isinstance(end, kind) or f"{name}.weight" in skeleton.tied:
            continue
        tensor = skeleton.kept_as(f"{name}.weight")
        if tensor not in stored.tensors:
            continue
        tied = {other.removesuffix(".weight") for other, twin in skeleton.tied.items() if twin == f"{name}.weight"}
        rounded = compressed.rounded(stored, tensor)
        if weights.replace(graph, frozenset({name, *tied}), rounded, pending):
            found.add(tensor)
            change += rounded.bytes - kept(stored, tensor).bytes
    return found, change


def _trace(model: PreTrainedModel, task: str, directory: Path) -> None:
    try:
        options = {"task": TASKS[task].export, "stateful": True, "patch_16bit_model": True}
        export_from_model(model, directory, **options, **_heard(model))
    except Exception as error:
        raise machine_fault(error) or QuantizeError(
            f"optimum-intel cannot export this model, model_type {model.config.model_type}: {' '.join(str(error).split())} "
            "Use format compressed-tensors or bitsandbytes for it."
        ) from error


def _heard(model: PreTrainedModel) -> dict[str, int]:
    """Frames that a model hears at once, two to each position of its encoder: the exporter takes 3,000 for granted."""
    positions = getattr(model.config, "max_source_positions", None)
    return {"nb_max_frames": 2 * positions} if model.main_input_name == "input_features" and positions else {}


def _large(skeleton: Skeleton, stored: Checkpoint, quantized: frozenset[str]) -> dict[str, str]:
    """Token embeddings, the head, and linears that are kept: by module the tensor of the artifact that it holds.

    Of 16 bits, and of modules that the exporter takes as they are, so that it makes of zeros what it makes of weights. Experts
    are none of these: stand-ins take their places.
    """
    experts = stacked(skeleton.model)
    ends = [skeleton.model.get_input_embeddings(), skeleton.model.get_output_embeddings()]
    large = {}
    for module, each in skeleton.model.named_modules():
        known = module in skeleton.linears or any(each is end for end in ends)
        if type(each) not in (nn.Linear, nn.Embedding) or not known or module in experts:
            continue
        tensor = skeleton.kept_as(skeleton.tied.get(f"{module}.weight", f"{module}.weight"))
        if module not in quantized and tensor in stored.tensors and stored.tensors[tensor].dtype in weights.HALVES:
            large[module] = tensor
    return large


def _filled(skeleton: Skeleton, stored: Checkpoint, left_out: frozenset[str]) -> PreTrainedModel:
    model = copy.deepcopy(skeleton.model)
    narrow = {path: openvino_experts.stand_in(experts) for path, experts in stacks(model)}
    for path, module in narrow.items():
        model.set_submodule(path, module)
    marked: list[str] = []
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        owner, _, last = name.rpartition(".")
        if owner in narrow:
            continue
        tensor = skeleton.kept_as(skeleton.tied.get(name, name))
        if owner in left_out and last == "weight":
            kept_half = tensor in stored.tensors and stored.tensors[tensor].dtype == torch.float16
            value = _untouched(tuple(parameter.shape), torch.float16 if kept_half else torch.bfloat16, len(marked))
            marked.append(name)
        else:
            value = stored.whole(tensor)
        model.get_submodule(owner)._parameters[last] = nn.Parameter(value, requires_grad=False)
    model.tie_weights()
    return model.eval()


def _untouched(shape: tuple[int, ...], dtype: torch.dtype, number: int) -> Tensor:
    """Zeros that cost no memory, but for two that are a number: OpenVINO merges products of one input by equal weights."""
    # numpy leaves it to the system's zero page, where torch.zeros would write every byte. In 16 bits the exporter
    # does not compute with a weight while it traces.
    zeros = np.zeros(shape, np.int16)
    zeros.reshape(-1)[:2] = divmod(number, 1 << 14)
    return torch.from_numpy(zeros).view(dtype)
