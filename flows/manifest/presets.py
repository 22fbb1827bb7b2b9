"""Named recipes: those shipped in presets.yaml, and those that the nearest `targets.yaml` above a manifest adds."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from catalog.dtypes import DTYPES
from catalog.engines import ENGINES
from catalog.formats import FORMATS
from catalog.task import Task
from flows.manifest.errors import shown
from flows.manifest.explain import explain
from flows.manifest.yaml_source import PRESETS, Key, Source, read
from quantizers.recipe import Recipe

FILE = "targets.yaml"


@dataclass(frozen=True)
class Presets:
    """The presets that a manifest may name."""

    path: Path | None
    """The `targets.yaml` that adds to those shipped; None: there is none above the manifest."""
    written: dict[str, dict[str, Any]]
    """The fields each preset gives, for a target to override."""
    recipes: dict[str, Recipe]

    def of_task(self, task: Task) -> Presets:
        """The same for models of a task; those that read no tokens have no table of them, and nothing is said of it."""
        if task.tokenizes:
            return self
        written = {
            name: {key: value for key, value in fields.items() if key != "embeddings"}
            for name, fields in self.written.items()
        }
        recipes = {name: recipe.model_copy(update={"embeddings": None}) for name, recipe in self.recipes.items()}
        return Presets(self.path, written, recipes)


def presets_for(directory: Path) -> Presets:
    """Return the presets of manifests in `directory` (absolute). Raises ManifestError when targets.yaml is wrong."""
    for ancestor in (directory, *directory.parents):
        path = ancestor / FILE
        if os.path.lexists(path):
            return _with_shipped(path, _state(path))
    return shipped()


@cache
def shipped() -> Presets:
    """Return the presets that come with quantmill."""
    with as_file(files("flows.manifest") / "presets.yaml") as path:
        return Presets(None, *_read(path))


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:  # reading it says what is wrong
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)


@lru_cache(maxsize=256)
def _with_shipped(path: Path, state: tuple[int, int, int] | None) -> Presets:
    written, recipes = _read(path)
    return Presets(path, {**shipped().written, **written}, {**shipped().recipes, **recipes})


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Recipe]]:
    source = read(shown(path), PRESETS)
    recipes = {}
    for name, fields in source.data.items():
        if not isinstance(fields, dict):
            raise source.error(
                (name,), "is not a preset; a preset is a mapping of recipe fields, such as {dtype: int4}"
            )
        recipes[name] = recipe_at(source, (name,), fields)
    return source.data, recipes


def recipe_at(source: Source, key: Key, fields: dict[str, Any]) -> Recipe:
    """Return the recipe of `fields`, which are written at `key`. Raises ManifestError."""
    try:
        return Recipe.model_validate_json(json.dumps(fields), strict=True)
    except ValidationError as error:
        raise explain(source, error, Recipe, key) from error


def name_of(recipe: Recipe) -> str:
    """Return a name that tells a recipe's parts, such as `w4-awq-compensated-asym-g64`. Presets are named so too.

    In order: engine or format unless ours, bits or codebook, bits of activations, what is done to the weights, grid, group
    (unless it is all that the format holds, what the library of a codebook uses, 64, or of int8 a whole channel, which is
    `cw` of others), share of `dtype`, whether linears differ in dtype, whether embeddings are kept where they
    could be in int8, and `x` where NNCF has choices of its own. `skip` is not told.
    """
    dtype, engine, format_ = DTYPES[recipe.dtype], ENGINES[recipe.engine], FORMATS[recipe.format]
    # AWQ by itself is a search of the scales and of the clipping range.
    usual = "mse" if recipe.transform == "awq" and recipe.rounding == "nearest" else "minmax"
    said = (recipe.transform, recipe.range, recipe.rounding)
    done: list[str] = [part for part in said if part is not None and part not in (usual, "nearest")]
    plain = None if dtype.codebook else engine.plain
    usual_group = 64 if dtype.codebook else -1 if dtype.bits == 8 else None
    if len(format_.group_sizes) == 1:
        usual_group = format_.group_sizes[0]
    parts = [
        format_.prefix or engine.prefix,
        f"{dtype.label}a8" if recipe.activations else dtype.label,
        *((engine.word, *done) if done else (plain,)),
        None if recipe.symmetric else "asym",
        None if recipe.group_size == usual_group else "cw" if recipe.group_size == -1 else f"g{recipe.group_size}",
        None if recipe.ratio == 1 else f"r{recipe.ratio:g}",
        "mixed" if recipe.overrides else None,
        "e16" if engine.streams and format_.embeddings and not recipe.embeddings else None,
        "x" if recipe.nncf else None,
    ]
    return "-".join(part for part in parts if part)
