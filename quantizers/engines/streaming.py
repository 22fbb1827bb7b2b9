"""Engine streaming: read each tensor of the model once, quantize it for every target, write it, let it go."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from catalog.formats import FORMATS
from catalog.progress import report
from quantizers.artifact.target import Target, prepare
from quantizers.calibration import resume
from quantizers.calibration.files import read_given
from quantizers.discovery.family import family_for
from quantizers.errors import QuantizeError
from quantizers.families.experts import stacks
from quantizers.families.family import Family
from quantizers.families.found import found
from quantizers.hardware.threads import cores, one_thread_each
from quantizers.model.checkpoint import Checkpoint, open_checkpoint
from quantizers.model.given import Given
from quantizers.model.skeleton import Skeleton, blocks, build
from quantizers.parts import exporter_of
from quantizers.recipe import Recipe
from quantizers.request import Made, Request


@torch.no_grad()
@one_thread_each()
def stream(request: Request, recipes: dict[str, Recipe], out: Path) -> dict[str, Made]:
    """Make every target of `recipes` in one pass over the model, each complete in `out/<target>`.

    Raises:
        QuantizeError: the model, a recipe or the calibration text is at fault.
    """
    checkpoint = open_checkpoint(request.model)
    skeleton = build(checkpoint, request.task)
    work = out / ".work" / "streaming"
    sources = {name: _source(name, recipes, skeleton) for name in recipes}
    exporters = {name: exporter_of(r.format) for name, r in recipes.items() if FORMATS[r.format].made_from}
    for exporter in exporters.values():
        exporter.require(request.model, skeleton)
    targets = [
        prepare(name, recipe, skeleton, checkpoint, work / "made" / name)
        for name, recipe in recipes.items()
        if sources[name] == name
    ]
    made = _write_targets(request, checkpoint, skeleton, targets, work)
    directories = {target.name: target.directory for target in targets}
    for done, (name, exporter) in enumerate(exporters.items()):
        report(f"{name}: {recipes[name].format} export", done, len(exporters))
        source, directories[name] = next(t for t in targets if t.name == sources[name]), work / "exported" / name
        asked = made[source.name].model_copy(update={"recipe": recipes[name]})
        made[name] = exporter.export(source, asked, skeleton, checkpoint, directories[name])
    for name, directory in directories.items():
        shutil.rmtree(out / name, ignore_errors=True)
        directory.rename(out / name)
    return made


def _write_targets(
    request: Request, checkpoint: Checkpoint, skeleton: Skeleton, targets: list[Target], work: Path
) -> dict[str, Made]:
    """Write all tensors of all targets, going on where an interrupted run left off."""
    calibrated = [target for target in targets if target.recipe.calibrated]
    data_free = [target for target in targets if not target.recipe.calibrated]
    given = _given(request, checkpoint, skeleton, calibrated) if calibrated else None
    family = family_for(checkpoint, skeleton, given) if given else None
    resume.begin(work, resume.fingerprint(request, checkpoint), targets)
    with ExitStack() as stack:
        for target in targets:
            target.begin(skeleton, finished_prefixes(skeleton, family, resume.finished(work)))
            stack.enter_context(target.opened)
        if family and given:
            from quantizers.calibration.block_pass import calibrate  # brings numba and its compiler

            for prefix in calibrate(request, checkpoint, skeleton, family, given, calibrated, work):
                if data_free:
                    names = [name for name in skeleton.source if skeleton.model_name(name).startswith(prefix)]
                    deque(copy_tensors(checkpoint, skeleton, names, data_free), 0)
        finished = finished_prefixes(skeleton, family, resume.finished(work))
        for target in calibrated:
            target.note_uncalibrated(finished)
        rest = [name for name in skeleton.source if not skeleton.model_name(name).startswith(finished)]
        for done, name in enumerate(copy_tensors(checkpoint, skeleton, rest, targets), 1):
            report(f"tensor {done} of {len(rest)}: {name}", done, len(rest))
        report("weights written", len(rest), len(rest))
        made = {target.name: target.finish(checkpoint, skeleton) for target in targets}
    known = {"found": found(family) if family else None}
    return made | {target.name: made[target.name].model_copy(update=known) for target in calibrated}


def _given(request: Request, checkpoint: Checkpoint, skeleton: Skeleton, targets: list[Target]) -> Given:
    if request.calibration is None:
        names = ", ".join(target.name for target in targets)
        raise QuantizeError(
            f"target {names}: the recipe reads calibration text, and the request has none. Name a calibration set, "
            "or use a recipe without transform and with nearest rounding."
        )
    return read_given(request.calibration, checkpoint.directory, skeleton)


def _source(name: str, recipes: dict[str, Recipe], skeleton: Skeleton) -> str:
    """The target whose tensors become target `name`: another of the same recipe, if one format is made from the other's."""
    if FORMATS[recipes[name].format].made_from is None:
        return name
    otherwise = any(stacks(skeleton.model)) or bool(skeleton.pieces)

    def laid_out(recipe: Recipe) -> tuple[Recipe, bool]:
        """All that decides the tensors; if a checkpoint holds some otherwise than the model, also how the format does."""
        format_ = FORMATS[recipe.format]
        plain = recipe.model_copy(update={"format": format_.made_from or format_.name, "embeddings": None})
        return plain, otherwise and format_.stacks

    alike = [n for n, recipe in recipes.items() if laid_out(recipe) == laid_out(recipes[name])]
    return min(alike, key=lambda n: (FORMATS[recipes[n].format].made_from is not None, recipes[n].format))


def finished_prefixes(skeleton: Skeleton, family: Family | None, done: int) -> tuple[str, ...]:
    """Prefixes of the tensors of the first `done` blocks; none where no block is calibrated."""
    return tuple(f"{path}." for path in blocks(skeleton, family)[:done]) if family else ()


def copy_tensors(checkpoint: Checkpoint, skeleton: Skeleton, names: list[str], targets: list[Target]) -> Iterator[str]:
    """Write tensors into every target; yield the name of each once it is written, in order."""
    # One tensor a thread: threads that share a tensor wait for each other at every one of many small steps.
    with ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        copied = pool.map(lambda name: copy_tensor(checkpoint, skeleton, name, targets), names)
        for name, _ in zip(names, copied, strict=True):
            yield name


def copy_tensor(checkpoint: Checkpoint, skeleton: Skeleton, name: str, targets: list[Target]) -> None:
    """Write one tensor into every target: rounded to nearest where the target's recipe quantizes it, else as it is."""
    linear = skeleton.by_weight.get(name)
    rounding = [target for target in targets if linear is not None and linear.name in target.linears]
    keeping = [target for target in targets if target not in rounding]
    parts: Iterable[tuple[int, Tensor]]
    if linear is not None and linear.transposed and rounding:
        stored = checkpoint.whole(skeleton.source[name])
        for target in keeping:
            target.keep(name, stored)
        keeping, parts = [], [(0, stored.T.contiguous())]
    else:
        parts = checkpoint.chunks(skeleton.source[name], max((t.layout.ROWS for t in rounding), default=1))
    for _, rows in parts:
        for target in keeping:
            target.keep(name, rows)
        if rounding and linear is not None:
            wide = rows.float()
            for target in rounding:
                target.round_nearest(linear.name, wide, (linear.out_features, linear.in_features))
