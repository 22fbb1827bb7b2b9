"""Engine nncf: OpenVINO IR through optimum-intel's exporter and NNCF's weight compression, data-free.

Every setting of the compression is passed explicitly, since optimum-intel otherwise picks a recipe by the model's name.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from optimum import intel

from catalog.tasks import TASKS
from quantizers.families import routers
from quantizers.families.experts import of, stacked, stacks
from quantizers.formats.openvino import export as openvino_export
from quantizers.formats.openvino import ir, tokenizer
from quantizers.model.checkpoint import open_checkpoint
from quantizers.model.companions import copy_companions
from quantizers.model.selection import select_linears
from quantizers.model.skeleton import Skeleton, build
from quantizers.progress import progress
from quantizers.recipe import Recipe
from quantizers.request import Made, Request


def export(request: Request, recipes: dict[str, Recipe], out: Path) -> dict[str, Made]:
    """Export the model once per target into `out/<target>`.

    Raises:
        QuantizeError: the model, its tokenizer or a recipe is at fault, or OpenVINO cannot express them.
    """
    checkpoint = open_checkpoint(request.model)
    skeleton = build(checkpoint, request.task)
    names = {target: select_linears(skeleton, recipe, target) for target, recipe in recipes.items()}
    openvino_export.require_exportable(request.model, skeleton)
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
        tokenizer.convert(request.model, scratch)
        copy_companions(request.model, scratch, checkpoint.config)
        ir.write_configuration(scratch, recipe)
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


def _skipped(skeleton: Skeleton, names: tuple[str, ...]) -> tuple[str, ...]:
    """Modules that NNCF leaves alone: linears, routers, and all experts of a block."""
    model, quantized = skeleton.model, set(names)
    last, left_out = routers(model.config.to_dict()), quantized | stacked(model)
    kept = [name for name in skeleton.linears if name not in left_out]
    kept += [name for name, _ in model.named_modules() if name.rpartition(".")[2] in last]
    kept += [path for path, each in stacks(model) if quantized.isdisjoint(of(path, each, each.names[0]))]
    return tuple(dict.fromkeys(kept))


def _export(model: Path, scratch: Path, recipe: Recipe, skeleton: Skeleton, names: tuple[str, ...]) -> None:
    exported = getattr(intel, TASKS[skeleton.task].clients["optimum.intel"].stock).from_pretrained(
        model,
        export=True,
        compile=False,
        use_cache=True,
        local_files_only=True,
        quantization_config=intel.OVWeightQuantizationConfig(**settings(recipe, _skipped(skeleton, names))),
    )
    for name in exported.ov_models:
        ir.save(exported.ov_models[name], scratch / exported._ov_model_paths[name])
