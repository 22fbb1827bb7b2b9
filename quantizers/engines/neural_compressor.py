"""Engine neural-compressor: Intel's own RTN, AWQ and TEQ over the whole model, through its public functions.

It keeps the whole model in memory in float32 and is the reference that the streaming engine is held against. The
family tables are handed to it as absorb dictionaries, since its own detection traces the model and fails on current
transformers. Its integers, scales and zero points are read back and stored in our formats; nothing of its own
(a pickle) is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from catalog.dtypes import Grid
from catalog.errors import EnvironmentFault
from catalog.progress import report
from quantizers.artifact.target import Target, prepare
from quantizers.calibration.text import read_rows
from quantizers.dtypes import Codes
from quantizers.errors import QuantizeError
from quantizers.families import family_of
from quantizers.families.experts import unstack
from quantizers.families.family import Family, Group, Rows
from quantizers.model.checkpoint import Checkpoint, open_checkpoint
from quantizers.model.skeleton import Skeleton, build
from quantizers.recipe import Recipe
from quantizers.request import Made, Request

SETTINGS: dict[str | None, str] = {None: "RTNConfig", "awq": "AWQConfig", "teq": "TEQConfig"}
TEQ_STEPS = 100
TEQ_RATE = 1e-3
"""Steps and learning rate of TEQ's training, as in neural-compressor's own tests (TEQ, arXiv:2310.10944)."""


def compress(request: Request, recipes: dict[str, Recipe], out: Path) -> dict[str, Made]:
    """Quantize the model once per target, each complete in `out/<target>`.

    Raises:
        QuantizeError: the model, a recipe or the calibration text is at fault, or the package is not installed.
    """
    checkpoint = open_checkpoint(request.model)
    skeleton = build(checkpoint, request.task)
    targets = [prepare(n, recipe, skeleton, checkpoint, out / ".work" / n) for n, recipe in recipes.items()]
    made = {}
    for done, target in enumerate(targets):
        report(f"{target.name}: neural-compressor {target.recipe.transform or 'rtn'}", done, len(targets))
        rows = _rows(request, skeleton, target)
        model = quantized(skeleton, checkpoint, target.recipe, tuple(target.linears), rows)
        target.begin(skeleton, ())
        with ExitStack() as stack:
            stack.enter_context(target.opened)
            _write(model, skeleton, checkpoint, target)
            made[target.name] = target.finish(checkpoint, skeleton)
        target.directory.rename(out / target.name)
    return made


def _rows(request: Request, skeleton: Skeleton, target: Target) -> Tensor | None:
    if not target.recipe.calibrated:
        return None
    if request.calibration is None:
        raise QuantizeError(
            f"target {target.name}: transform {target.recipe.transform} reads calibration text, and the request has "
            "none. Give `calibration`, or use a recipe without transform."
        )
    return read_rows(request.calibration, request.model, skeleton.model.config.vocab_size)


def quantized(
    skeleton: Skeleton, checkpoint: Checkpoint, recipe: Recipe, linears: tuple[str, ...], rows: Tensor | None
) -> nn.Module:
    """The model with neural-compressor's `INCWeightOnlyLinear` in place of every linear in `linears`.

    Args:
        rows: token ids int64 [samples, tokens] for the calibrated recipes.

    Raises:
        EnvironmentFault: the package is missing.
        QuantizeError: the family cannot be expressed to it.
    """
    try:
        from neural_compressor.torch import quantization as inc
    except ImportError as error:
        raise EnvironmentFault(
            f"engine neural-compressor: the package neural_compressor_pt cannot be imported ({error}). Install quantmill "
            "again (`quantmill doctor` says what is missing), or use engine streaming."
        ) from error
    torch.manual_seed(0)
    model = type(skeleton.model).from_pretrained(checkpoint.directory, dtype=torch.float32, local_files_only=True)
    unstack(model, model.config.model_type)
    model.eval()
    model.config.use_cache = False
    settings = getattr(inc, SETTINGS[recipe.transform])
    config = settings(**_settings(recipe, skeleton, checkpoint))
    for name in skeleton.linears:
        if name not in linears:
            # Names are regular expressions there.
            config.set_local(f"{re.escape(name)}$", settings(dtype="fp32", use_layer_wise=False))
    if rows is None:
        return inc.convert(inc.prepare(model, config), use_optimum_format=False)  # type: ignore[no-any-return]
    prepared = inc.prepare(model, config, example_inputs=rows[:1])
    (_train if recipe.transform == "teq" else _run)(prepared, rows)
    return inc.convert(prepared)  # type: ignore[no-any-return]


def _settings(recipe: Recipe, skeleton: Skeleton, checkpoint: Checkpoint) -> dict[str, Any]:
    """Arguments of a neural-compressor configuration; all that decide the bits are explicit."""
    shared = {
        "dtype": "int",
        "bits": recipe.bits,
        "use_sym": recipe.symmetric,
        "group_size": recipe.group_size,
        "use_layer_wise": False,
        # Its own list of heads to leave out would add to the recipe's.
        "quant_lm_head": True,
    }
    if recipe.transform is None:
        return shared | {"use_mse_search": recipe.range == "mse"}
    family = family_of(checkpoint.config)
    if recipe.transform == "awq":
        by_norm = dict(absorbers(family))
        return shared | {"absorb_layer_dict": by_norm, "use_auto_clip": recipe.range == "mse", "folding": True}
    blocks = len(skeleton.model.get_submodule(family.blocks[0]))  # type: ignore[arg-type]
    prefixes = [f"{family.blocks[0]}.{i}." for i in range(blocks)]
    folds = {p + a: [p + linear for linear in linears] for p in prefixes for a, linears in absorbers(family)}
    # Blocks of one stack may be dense and mixtures; what a block does not have is no linear of it.
    absorb = {a: linears for a, linears in folds.items() if skeleton.linears.keys() >= set(linears)}
    return shared | {"absorb_to_layer": absorb, "folding": True}


def absorbers(family: Family) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The folds of a family that neural-compressor can express: `(absorber, its readers)`, names within a block.

    It divides every weight and bias of the absorber by the scale, one row per channel. That is wrong for norms that
    multiply by 1 + weight, for value heads that several query heads share and for fused projections, and it knows
    linears alone as readers, no routers. Such groups are left out.

    Raises:
        QuantizeError: the family has several stacks of blocks, or no fold is left.
    """
    if len(family.stacks) != 1:
        raise QuantizeError(
            f"engine neural-compressor: it scales one stack of blocks, and {family.model_type} has "
            f"{len(family.stacks)}. Use engine streaming for awq and teq on this model."
        )
    folds = tuple((g.absorber, g.linears) for g in family.groups if g.absorber is not None and _expressible(g))
    if not folds:
        raise QuantizeError(
            f"engine neural-compressor: it can fold no scale of {family.model_type}. Use engine streaming."
        )
    return folds


def _expressible(group: Group) -> bool:
    rows = group.rows
    one_to_one = isinstance(rows, Rows) and rows.offset == 0 and rows.repeats == 1 and rows.stride == rows.width
    return (
        group.kind in ("norm", "linear") and (rows is None or one_to_one) and not group.followers and not group.experts
    )


@torch.no_grad()
def _run(model: nn.Module, rows: Tensor) -> None:
    for row in rows:
        model(row[None])


@torch.enable_grad()
def _train(model: nn.Module, rows: Tensor) -> None:
    """Train TEQ's scales on the language-model loss; neural-compressor leaves the loop to its caller."""
    scales = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(scales, lr=TEQ_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, TEQ_STEPS)
    for step in range(TEQ_STEPS):
        row = rows[step % len(rows)][None]
        loss = model(row, labels=row).loss
        if not torch.isfinite(loss):
            raise QuantizeError("engine neural-compressor: TEQ's loss is not finite on the calibration text.")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def codes_of(module: Any, grid: Grid, stored: torch.dtype) -> Codes:
    """What an `INCWeightOnlyLinear` holds, on our signed grid, with the scale rounded to the dtype it is stored in.

    The integers were chosen for neural-compressor's scale (float16 after AWQ and TEQ, float32 after RTN).
    """
    parts = module.unpack()
    # Packed in its optimum format, a symmetric grid too counts from 0, and its zero point is the middle.
    middle = 1 << (grid.bits - 1) if parts["zp"] is not None else 0
    scale = parts["scales"].float().to(stored).float()
    codes = (parts["int_weight"] - middle).to(torch.int8)
    return Codes(codes, scale, None if grid.symmetric else (parts["zp"] - middle).to(torch.int8))


def _write(model: nn.Module, skeleton: Skeleton, checkpoint: Checkpoint, target: Target) -> None:
    state: Mapping[str, Tensor] = model.state_dict()
    stacked = {piece.name: (name, piece.index) for name, parts in skeleton.pieces.items() for piece in parts}
    for name, key in skeleton.source.items():
        linear = name.removesuffix(".weight")
        if name.endswith(".weight") and linear in target.linears:
            codes = codes_of(model.get_submodule(linear), target.recipe.grid, target.stored)
            shape = skeleton.linears[linear]
            target.write(linear, codes, (shape.out_features, shape.in_features))
        else:
            whole, index = stacked.get(name, (name, ()))
            target.keep(name, state[whole][index].to(checkpoint.tensors[key].dtype))
