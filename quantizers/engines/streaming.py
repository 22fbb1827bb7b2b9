"""Engine streaming: read each tensor of the model once, quantize it for every target, write it, let it go."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from quantizers.checkpoint import Checkpoint, open_checkpoint
from quantizers.progress import progress
from quantizers.recipe import Recipe
from quantizers.request import Made, Request
from quantizers.skeleton import Linear, Skeleton, build
from quantizers.target import Target, prepare

TOOLS = ("torch", "transformers", "safetensors", "compressed-tensors", "bitsandbytes")


@torch.no_grad()
def stream(request: Request, recipes: dict[str, Recipe], out: Path) -> dict[str, Made]:
    """Make every target of `recipes` in one pass over the model, each complete in `out/<target>`.

    Raises:
        QuantizeError: the model, a recipe or the calibration text is at fault.
    """
    checkpoint = open_checkpoint(request.model)
    skeleton = build(checkpoint)
    work = out / ".work"
    targets = [prepare(n, recipe, skeleton, checkpoint, work / n) for n, recipe in recipes.items()]
    with ExitStack() as stack:
        for target in targets:
            target.begin()
            stack.enter_context(target._open)
        _pass(checkpoint, skeleton, targets)
        return {t.name: t.finish(checkpoint, skeleton, out / t.name) for t in targets}


def _pass(checkpoint: Checkpoint, skeleton: Skeleton, targets: list[Target]) -> None:
    for done, (name, key) in enumerate(skeleton.source.items()):
        progress(f"tensor {done + 1} of {len(skeleton.source)}: {name}", done, len(skeleton.source))
        linear = skeleton.linears.get(name.removesuffix(".weight")) if name.endswith(".weight") else None
        copy_tensor(checkpoint, name, key, linear, targets)
    progress("weights written", len(skeleton.source), len(skeleton.source))


def copy_tensor(checkpoint: Checkpoint, name: str, key: str, linear: Linear | None, targets: list[Target]) -> None:
    """Write one tensor into every target: rounded to nearest where the target's recipe quantizes it, else as it is."""
    rounding = [t for t in targets if linear is not None and linear.name in t.linears]
    keeping = [t for t in targets if t not in rounding]
    if linear is not None and linear.transposed and rounding:
        stored = checkpoint.whole(key)
        for target in keeping:
            target.keep(name, stored)
        parts: Iterable[tuple[int, Tensor]] = [(0, stored.T.contiguous())]
        keeping = []
    else:
        parts = checkpoint.chunks(key, max((t.format.ROWS for t in rounding), default=1))
    for _, rows in parts:
        for target in keeping:
            target.keep(name, rows)
        if rounding and linear is not None:
            wide = rows.float()
            for target in rounding:
                target.round_nearest(linear.name, wide, (linear.out_features, linear.in_features))
