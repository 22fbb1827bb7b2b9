"""Engine nncf: OpenVINO IR through optimum-intel's exporter and NNCF's weight compression.

A recipe's `transform: awq` is NNCF's AWQ, `range: mse` its scale estimation, `rounding: compensated` its GPTQ; these run the
exported graph over the calibration rows, and a share of weights in int8 is then chosen by activations, too; what these go by is
collected once for all recipes of a text (`nncf_statistics`). Every setting of the compression is passed explicitly, since
optimum-intel otherwise picks a recipe by the model's name.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from nncf import (
    AdvancedCompressionParameters,
    AdvancedLoraCorrectionParameters,
    BackupMode,
    CompressWeightsMode,
    Dataset,
    GroupSizeFallbackMode,
    IgnoredScope,
    ModelType,
    QuantizationPreset,
    SensitivityMetric,
    compress_weights,
    quantize,
)

from catalog.dtypes import DTYPES
from catalog.progress import report
from catalog.tasks import TASKS
from quantizers.engines import nncf_graph, nncf_statistics
from quantizers.engines.nncf_options import NncfOptions
from quantizers.errors import QuantizeError
from quantizers.families import routers
from quantizers.families.experts import of, stacked, stacks
from quantizers.formats.openvino import export as openvino_export
from quantizers.formats.openvino import ir, tokenizer, weights
from quantizers.model.checkpoint import open_checkpoint
from quantizers.model.companions import copy_companions
from quantizers.model.selection import select_linears
from quantizers.model.skeleton import Skeleton, build
from quantizers.recipe import Recipe
from quantizers.request import STATISTICS, Made, Request

CONVOLUTIONS = ["Convolution", "GroupConvolution"]
"""Left as they are, as by every engine: a small ViT in W8A8 diverges by 0.0001 nats, with its patches in int8 by 0.02."""


def export(request: Request, recipes: dict[str, Recipe], out: Path) -> dict[str, Made]:
    """Export the model once per target into `out/<target>`.

    Raises:
        QuantizeError: the model, its tokenizer or a recipe is at fault, or OpenVINO cannot express them.
    """
    checkpoint = open_checkpoint(request.model)
    skeleton = build(checkpoint, request.task)
    names = {target: select_linears(skeleton, recipe, target) for target, recipe in recipes.items()}
    if TASKS[request.task].graphs[1:]:
        raise QuantizeError(
            f"{request.model}: engine nncf writes models of one graph, and for {TASKS[request.task].words} there are two. Use "
            "engine streaming."
        )
    openvino_export.require_exportable(request.model, skeleton)
    for key in skeleton.source.values():
        for _ in checkpoint.chunks(key):  # reading is what finds NaN and damaged shards
            pass
    made = {}
    for done, (target, recipe) in enumerate(recipes.items()):
        report(f"{target}: OpenVINO export", done, len(recipes))
        scratch = out / ".work" / target
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        _export(request, scratch, recipe, skeleton, names[target], out / STATISTICS)
        if TASKS[request.task].tokenizes:
            tokenizer.convert(request.model, scratch)
        copy_companions(request.model, scratch, checkpoint.config)
        ir.write_configuration(scratch, recipe)
        made[target] = ir.check(scratch, recipe, skeleton, checkpoint, names[target])
        scratch.rename(out / target)
    return made


def settings(recipe: Recipe) -> dict[str, Any]:
    """Arguments of `nncf.compress_weights` that a recipe stands for, but for texts and what is left out.

    What is not asked for stays unsaid: NNCF writes what it is told into the graph.
    """
    if recipe.dtype == "int8":
        return {"mode": CompressWeightsMode.INT8_SYM if recipe.symmetric else CompressWeightsMode.INT8_ASYM}
    options = recipe.nncf or NncfOptions()
    grid = "" if DTYPES[recipe.dtype].codebook else "_sym" if recipe.symmetric else "_asym"
    advanced: dict[str, Any] = {"group_size_fallback_mode": GroupSizeFallbackMode(options.fallback)}
    if options.lora_rank:
        advanced["lora_correction_params"] = AdvancedLoraCorrectionParameters(adapter_rank=options.lora_rank)
    metric = _metric(recipe, options)
    return {
        "mode": CompressWeightsMode(recipe.dtype + grid),
        "group_size": recipe.group_size,
        "ratio": recipe.ratio,
        "all_layers": options.all_layers,
        "backup_mode": BackupMode(options.backup),
        "sensitivity_metric": metric and SensitivityMetric(metric),
        "awq": recipe.transform == "awq" or None,
        "scale_estimation": recipe.range == "mse" or None,
        "gptq": recipe.rounding == "compensated" or None,
        "lora_correction": options.lora_rank is not None or None,
        "advanced_parameters": AdvancedCompressionParameters(**advanced),
    }


def _metric(recipe: Recipe, options: NncfOptions) -> str | None:
    """What NNCF ranks linears by where some are to stay in int8; its own default with and without text."""
    if recipe.ratio == 1:
        return None
    if options.sensitivity:
        return options.sensitivity
    return "max_activation_variance" if recipe.calibrated else "weight_quantization_error"


def _skipped(skeleton: Skeleton, names: tuple[str, ...]) -> tuple[str, ...]:
    """Modules that NNCF leaves alone: linears, routers, and all experts of a block."""
    model, quantized = skeleton.model, set(names)
    last, left_out = routers(model.config.to_dict()), quantized | stacked(model)
    kept = [name for name in skeleton.linears if name not in left_out]
    kept += [name for name, _ in model.named_modules() if name.rpartition(".")[2] in last]
    kept += [path for path, each in stacks(model) if quantized.isdisjoint(of(path, each, each.names[0]))]
    return tuple(dict.fromkeys(kept))


def _export(
    request: Request, scratch: Path, recipe: Recipe, skeleton: Skeleton, names: tuple[str, ...], statistics: Path
) -> None:
    skipped = [f".*{ir.node(name)}/.*" for name in _skipped(skeleton, names)]
    left_out = IgnoredScope(patterns=skipped, types=CONVOLUTIONS, validate=False)
    exported = nncf_graph.exported(request.model, skeleton)
    # NNCF makes names of those that it finds, and a counter of the process would stay in them.
    ir.number(exported.model)
    rows = []
    if recipe.calibrated:
        assert request.calibration is not None
        rows = nncf_graph.rows(exported.model, request.calibration, request.model, skeleton)
    if recipe.activations:
        exported.model = quantize(
            exported.model,
            Dataset(rows),
            # Symmetric weights, asymmetric activations: softmax and GELU have few values below zero.
            preset=QuantizationPreset.MIXED,
            model_type=ModelType.TRANSFORMER,
            subset_size=len(rows),
            ignored_scope=left_out,
        )
        weights.name_again(exported.model)
    else:
        texts = {"dataset": Dataset(rows), "subset_size": len(rows)} if rows else {}
        asked, path = settings(recipe), None
        if recipe.shares_statistics:
            path = nncf_statistics.collected(exported.model, rows, request.statistics, statistics)
            asked["advanced_parameters"] = replace(asked["advanced_parameters"], statistics_path=str(path))
        compress_weights(exported.model, **asked, **texts, ignored_scope=left_out)
        if path:
            nncf_statistics.forget(exported.model, path)
    for name in exported.ov_models:
        ir.save(exported.ov_models[name], scratch / exported._ov_model_paths[name])
