"""The door: one request in, one complete directory per target out, `result.json` last."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from quantizers.errors import QuantizeError
from quantizers.machine import compute, tools
from quantizers.recipe import Recipe
from quantizers.request import Made, Request, Result

Engine = Callable[[Request, dict[str, Recipe], Path], dict[str, Made]]
ENGINES: dict[str, tuple[str, str]] = {
    "streaming": ("quantizers.engines.streaming", "stream"),
    "neural-compressor": ("quantizers.engines.neural_compressor", "compress"),
    "nncf": ("quantizers.engines.nncf", "export"),
}
"""Module and function. Imported when asked for: each brings libraries of several hundred megabytes."""


def run(request: Request, out: Path) -> Result:
    """Make every target of `request` in `out/<target>`, then write `out/result.json`.

    Targets of one engine share one pass over the model. What an interrupted run finished is found in `out/.work`
    and not done again; a target's directory exists only when it is complete.

    Raises:
        QuantizeError: the model, a recipe or the calibration text is at fault, or the disk is full.
    """
    computed = compute(request)
    if not request.model.is_dir():
        raise QuantizeError(
            f"{request.model}: no such directory. The model is a directory with config.json and weights."
        )
    out.mkdir(parents=True, exist_ok=True)
    made: dict[str, Made] = {}
    libraries: set[str] = set()
    for name, (path, function) in ENGINES.items():
        recipes = {target: recipe for target, recipe in request.targets.items() if recipe.engine == name}
        if recipes:
            module = import_module(path)
            engine: Engine = getattr(module, function)
            made |= engine(request, recipes, out)
            libraries |= set(module.TOOLS)
    shutil.rmtree(out / ".work", ignore_errors=True)
    result = Result(
        targets={target: made[target] for target in request.targets},
        tools=tools(*libraries),
        compute=str(computed),
    )
    (out / "result.json").write_text(result.model_dump_json(indent=2) + "\n", "utf-8")
    return result
