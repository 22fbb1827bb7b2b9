"""Engine nncf: OpenVINO IR through optimum-intel's exporter and NNCF's weight compression, data-free.

Every setting of the compression is passed explicitly, since optimum-intel otherwise picks a recipe by the model's
name, and the tokenizer is converted with it: without tokenizer and detokenizer OpenVINO GenAI cannot run the model.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from openvino_tokenizers import convert_tokenizer
from optimum.exporters.tasks import TasksManager
from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig
from transformers import AutoTokenizer

from quantizers.checkpoint import open_checkpoint
from quantizers.companions import copy_companions
from quantizers.errors import QuantizeError
from quantizers.formats import openvino as ir
from quantizers.progress import progress
from quantizers.recipe import Recipe
from quantizers.request import Made, Request
from quantizers.skeleton import Skeleton, build, chosen

TOOLS = ("nncf", "openvino", "openvino-tokenizers", "optimum", "optimum-intel", "torch", "transformers")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
TASK = "text-generation-with-past"


def export(request: Request, recipes: dict[str, Recipe], out: Path) -> dict[str, Made]:
    """Export the model once per target into `out/<target>`.

    Raises:
        QuantizeError: the model, its tokenizer or a recipe is at fault, or OpenVINO cannot express them.
    """
    checkpoint = open_checkpoint(request.model)
    skeleton = build(checkpoint)
    names = {target: chosen(skeleton, recipe, target) for target, recipe in recipes.items()}
    kind = skeleton.model.config.model_type
    if TASK not in TasksManager.get_supported_tasks_for_model_type(kind, "openvino", library_name="transformers"):
        raise QuantizeError(
            f"{request.model}: optimum-intel does not export model_type {kind} for text generation. "
            "Use format compressed-tensors or bitsandbytes for this model."
        )
    for key in skeleton.source.values():
        for _ in checkpoint.chunks(key):  # reading is what finds NaN and damaged shards
            pass
    made = {}
    for done, (target, recipe) in enumerate(recipes.items()):
        progress(f"{target}: OpenVINO export", done, len(recipes))
        scratch = out / ".work" / target
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        _export(request.model, scratch, recipe, skeleton, names[target])
        _convert_tokenizer(request.model, scratch)
        copy_companions(request.model, scratch, checkpoint.config)
        made[target] = ir.check(scratch, recipe, skeleton, checkpoint, names[target])
        scratch.rename(out / target)
    return made


def settings(recipe: Recipe, skipped: tuple[str, ...]) -> dict[str, Any]:
    """Arguments of OVWeightQuantizationConfig that a recipe stands for; `skipped` are module names."""
    scope = {"patterns": [f".*{ir.node(name)}/.*" for name in skipped], "validate": False} if skipped else None
    shared = {"bits": recipe.bits, "sym": recipe.symmetric, "ignored_scope": scope, "quant_method": "default"}
    if recipe.dtype == "int8":
        return shared | {"group_size": -1, "ratio": 1.0}
    return shared | {
        "group_size": recipe.group_size,
        "ratio": recipe.ratio,
        "all_layers": False,
        "backup_precision": "int8_asym",
        "sensitivity_metric": "weight_quantization_error" if recipe.ratio < 1 else None,
        "group_size_fallback": "error",
    }


def _export(model: Path, scratch: Path, recipe: Recipe, skeleton: Skeleton, names: tuple[str, ...]) -> None:
    skipped = tuple(name for name in skeleton.linears if name not in set(names))
    exported = OVModelForCausalLM.from_pretrained(
        model,
        export=True,
        compile=False,
        use_cache=True,
        local_files_only=True,
        quantization_config=OVWeightQuantizationConfig(**settings(recipe, skipped)),
    )
    for name in exported.ov_models:
        ir.save(exported.ov_models[name], scratch / exported._ov_model_paths[name])


def _convert_tokenizer(model: Path, scratch: Path) -> None:
    # Without files transformers makes up an empty tokenizer instead of failing.
    if not any((model / name).is_file() for name in TOKENIZERS):
        raise QuantizeError(
            f"{model}: no tokenizer ({', '.join(TOKENIZERS)}). OpenVINO GenAI needs one beside the model: "
            "save the model with its tokenizer, or use format compressed-tensors or bitsandbytes."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, padding_side="left")
        pair = convert_tokenizer(tokenizer, with_detokenizer=True)
    except Exception as error:
        raise QuantizeError(
            f"{model}: its tokenizer cannot be converted for OpenVINO ({error}). OpenVINO GenAI needs tokenizer and "
            "detokenizer: use format compressed-tensors or bitsandbytes, or a model with a fast tokenizer."
        ) from error
    for part, name in zip(pair, ("openvino_tokenizer.xml", "openvino_detokenizer.xml"), strict=True):
        ir.save(part, scratch / name)
