"""The door: one request in, one complete directory per target out, `result.json` last."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from catalog.engines import ENGINES
from quantizers.errors import QuantizeError
from quantizers.hardware.device import Compute, compute
from quantizers.recipe import Recipe
from quantizers.request import Made, Request, Result, SensitivityRequest, SensitivityResult, tools

Told = TypeVar("Told", bound=BaseModel)
Engine = Callable[[Request, dict[str, Recipe], Path], dict[str, Made]]


def run(request: Request, out: Path) -> Result:
    """Make every target of `request` in `out/<target>`, then write `out/result.json`.

    Targets of one engine share one pass over the model. What an interrupted run finished is found in `out/.work`
    and not done again; a target's directory exists only when it is complete.

    Raises:
        QuantizeError: the model, a recipe or the calibration text is at fault.
        EnvironmentFault: the disk is full, or a device or package is missing.
    """
    computed = _ready(request, out)
    made: dict[str, Made] = {}
    for name, row in ENGINES.items():
        recipes = {target: recipe for target, recipe in request.targets.items() if recipe.engine == name}
        if recipes:
            path, _, function = row.entry_point.partition(":")
            engine: Engine = getattr(import_module(path), function)
            made |= engine(request, recipes, out)
    shutil.rmtree(out / ".work", ignore_errors=True)
    result = Result(
        targets={target: made[target] for target in request.targets},
        tools=tools(request),
        compute=str(computed),
    )
    return _written(result, out)


def answer(request: SensitivityRequest, out: Path) -> SensitivityResult:
    """Measure what each dtype does to each group of linears, then write `out/result.json`.

    Raises:
        QuantizeError: as `run`.
    """
    computed = _ready(request, out)
    module = import_module("quantizers.sensitivity.measure")
    choices, fixed, rest, tokens = module.measure(request, out / ".work")
    shutil.rmtree(out / ".work", ignore_errors=True)
    result = SensitivityResult(
        choices=choices,
        fixed=fixed,
        rest_bytes=rest,
        probe_tokens=tokens,
        tools=tools(request),
        compute=str(computed),
    )
    return _written(result, out)


def _ready(asked: Request | SensitivityRequest, out: Path) -> Compute:
    computed = compute(asked)
    if not asked.model.is_dir():
        raise QuantizeError(f"{asked.model}: no such directory. The model is a directory with config.json and weights.")
    out.mkdir(parents=True, exist_ok=True)
    return computed


def _written(told: Told, out: Path) -> Told:
    (out / "result.json").write_text(told.model_dump_json(indent=2) + "\n", "utf-8")
    return told
