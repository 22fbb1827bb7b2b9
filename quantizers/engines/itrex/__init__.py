"""Engine itrex: intel-extension-for-transformers 1.4.2 and neural-compressor 2.6, archived, under an interpreter of their own.

The model stays whole in float32 in that process. This one hands it rows of tokens and a configuration that its transformers
reads, and holds what it wrote against what the recipe implies. Its own files are safetensors and JSON; nothing else is taken.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from catalog.errors import EnvironmentFault, KilledFault
from catalog.foreign_errors import last_words
from catalog.interpreters import environment, python_of
from catalog.progress import report
from quantizers.calibration.text import read_rows
from quantizers.errors import QuantizeError, some
from quantizers.formats.itrex import legacy
from quantizers.model.checkpoint import Checkpoint, open_checkpoint
from quantizers.model.companions import copy_companions
from quantizers.model.linears import Misfit
from quantizers.model.selection import select_linears
from quantizers.model.skeleton import Skeleton, build
from quantizers.recipe import Recipe
from quantizers.request import Made, Request

PROGRAM = Path(__file__).with_name("make.py")
TILE, HEADER = 48, 256
"""Outputs that its kernels pack together, and bytes before them, of a codebook's block (AVX-512)."""


def compress(request: Request, recipes: dict[str, Recipe], out: Path) -> dict[str, Made]:
    """Quantize the model once per target into `out/<target>`.

    Raises:
        QuantizeError: the model, a recipe or the calibration text is at fault.
        EnvironmentFault: the engine is not installed, or its process died for want of memory.
    """
    python = python_of("itrex")
    checkpoint = open_checkpoint(request.model)
    skeleton = build(checkpoint, request.task)
    made = {}
    for done, (target, recipe) in enumerate(recipes.items()):
        report(f"{target}: itrex {recipe.transform or 'rtn'}", done, len(recipes))
        names = select_linears(skeleton, recipe, target)
        scratch = out / ".work" / target
        shutil.rmtree(scratch, ignore_errors=True)
        (scratch / "made").mkdir(parents=True)
        told = _run(python, _asked(request, recipe, checkpoint, skeleton, scratch, target), scratch)
        _refuse_others(told["quantized"], names, target)
        config = legacy.configuration(checkpoint.config) | {"quantization_config": told["quantization_config"]}
        copy_companions(request.model, scratch / "made", config)
        legacy.write_tokenizer(scratch / "made")
        made[target] = _made(recipe, skeleton, checkpoint, names, scratch / "made")
        (scratch / "made" / "model.safetensors").chmod(0o644)
        (scratch / "made").rename(out / target)
    return made


def _asked(
    request: Request, recipe: Recipe, checkpoint: Checkpoint, skeleton: Skeleton, scratch: Path, target: str
) -> dict[str, Any]:
    """What its program is asked; the model lies there with a configuration that its transformers reads."""
    model = scratch / "model"
    model.mkdir()
    for file in {stored.file for stored in checkpoint.tensors.values()} | set(request.model.glob("*.index.json")):
        (model / file.name).symlink_to(file.resolve())
    (model / "config.json").write_text(json.dumps(legacy.configuration(checkpoint.config)), "utf-8")
    for key in skeleton.source.values():
        for _ in checkpoint.chunks(key):  # reading is what finds NaN and damaged shards
            pass
    rows = None
    if recipe.calibrated:
        if request.calibration is None:
            raise QuantizeError(
                f"target {target}: transform {recipe.transform} reads calibration text, and the request has none. Give "
                "`calibration`, or use a recipe without transform."
            )
        rows = read_rows(request.calibration, request.model, skeleton.model.config.vocab_size).tolist()
    dtypes = {name: str(checkpoint.tensors[key].dtype).removeprefix("torch.") for name, key in skeleton.source.items()}
    return {
        "model": str(model),
        "out": str(scratch / "made"),
        "recipe": {**recipe.model_dump(mode="json"), "bits": recipe.bits},
        "rows": rows,
        "dtypes": dtypes,
        "tied": "lm_head.weight" in skeleton.tied,
    }


def _run(python: Path, asked: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Ask its program; what libraries print there goes to this step's log."""
    request = scratch / "request.json"
    request.write_text(json.dumps(asked), "utf-8")
    with (scratch / "log.txt").open("wb") as log:
        done = subprocess.run(
            [python, "-P", PROGRAM, request],
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment(scratch),
            cwd=scratch,
        )
    said = (scratch / "log.txt").read_text("utf-8", errors="replace")
    print(said)
    told = json.loads(done.stdout or b"{}")
    if done.returncode == 0 and "error" not in told:
        return dict(told)
    if done.returncode < 0:
        kind = KilledFault if done.returncode == -signal.SIGKILL else EnvironmentFault
        raise kind(
            f"engine itrex: its process was ended by signal {-done.returncode}, most often because memory ran out: it holds "
            "the model whole in float32. Run on a larger machine, or use engine streaming."
        )
    words = told.get("error") or " | ".join(said.splitlines()[-3:])
    raise last_words(words)(f"engine itrex failed ({words[:600]}). Use engine streaming, which makes the same.")


def _refuse_others(quantized: list[str], names: tuple[str, ...], target: str) -> None:
    if set(quantized) != set(names):
        other = some(tuple(sorted(set(quantized) ^ set(names))))
        raise Misfit(
            f"target {target}: engine itrex quantizes other linears than the recipe says: {other}. Its loader leaves the head "
            "alone and nothing else; use engine streaming."
        )


def _made(recipe: Recipe, skeleton: Skeleton, checkpoint: Checkpoint, names: tuple[str, ...], made: Path) -> Made:
    quantized = {f"{name}.weight" for name in names}
    kept = [key for name, key in skeleton.source.items() if name not in quantized]
    # It stores a bias for each of its linears, zeros where there was none.
    expected = sum(
        2 * skeleton.linears[name].out_features
        for name in names
        if recipe.dtype != "nf4" and f"{name}.bias" not in skeleton.source
    )
    expected += sum(
        _bytes(recipe, skeleton.linears[name].out_features, skeleton.linears[name].in_features) for name in names
    )
    for key in kept:
        stored = checkpoint.tensors[key]
        expected += stored.dtype.itemsize * _elements(stored.shape)
    return Made(
        recipe=recipe,
        expected_bytes=expected,
        weights_bytes=sum(path.stat().st_size for path in made.glob("*.safetensors")),
        quantized=len(names),
        kept=len(kept),
        notes=("its block of bytes is for CPUs of this instruction set alone",) if recipe.dtype == "nf4" else (),
    )


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _bytes(recipe: Recipe, out: int, features: int) -> int:
    """Of one linear: codes, scales in float16, and zero points, always stored, in whole words; of a codebook, as kernels pack."""
    groups = 1 if recipe.group_size == -1 else -(-features // recipe.group_size)
    if recipe.dtype == "nf4":
        padded = -(-out // TILE) * TILE
        return HEADER + padded * (features // 2 + 4 * groups)
    words = -(-out * recipe.bits // 32)
    return out * features * recipe.bits // 8 + groups * (2 * out + 4 * words)
