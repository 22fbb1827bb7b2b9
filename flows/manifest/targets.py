"""Expand what is written below `targets:` to explicit recipes."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from catalog.dtypes import DTYPES
from catalog.engines import ENGINES
from catalog.formats import FORMATS
from flows.manifest.drafts import draft_of
from flows.manifest.errors import choices, nearest, shown
from flows.manifest.explain import explain
from flows.manifest.model import Auto, Rung, Search, Target
from flows.manifest.names import fault
from flows.manifest.presets import Presets, name_of, recipe_at
from flows.manifest.runtime import RUNTIME, refuse_unfit, runtime_of
from flows.manifest.scalars import kind_of
from flows.manifest.yaml_source import Key, Source
from quantizers.recipe import Recipe, mixing

_RECIPE = tuple(Recipe.model_fields)
_FORMS = "; allowed: the name of a preset, a mapping of recipe fields and auto, or {ladder: [...]}"


def targets(source: Source, presets: Presets) -> dict[str, Target]:
    """Return the targets of a manifest by name. Raises ManifestError."""
    by_name: dict[str, Target] = {}
    seen: dict[str, str] = {}
    for name, written in source.data["targets"].items():
        key = ("targets", name)
        if problem := fault(name):
            raise source.error(key, f"{problem}; it becomes part of the release's name")
        if name.lower() in seen:
            raise source.error(
                key, f"differs from {seen[name.lower()]} by case only, which the Hub takes for the same name"
            )
        seen[name.lower()] = name
        by_name[name] = _target(source, key, name, written, presets)
    return by_name


def _target(source: Source, key: Key, name: str, written: Any, presets: Presets) -> Target:
    if not isinstance(written, str | dict):
        raise source.error(key, f"is {kind_of(written)}{_FORMS}")
    fields = {"preset": written} if isinstance(written, str) else dict(written)
    runtime = runtime_of(source, key, fields)
    release = _release(source, key, fields)
    draft = draft_of(source, key, fields)
    search = None
    if "ladder" in fields:
        rungs = _ladder(source, key, fields, presets)
    else:
        auto = fields.pop("auto", None)
        if auto is not None and "ratio" in fields:
            raise source.error((*key, "ratio"), "cannot stand beside auto, which decides the dtype of every linear")
        if "ratio" in fields:
            auto = _share(source, key, fields, presets)
        rungs = (
            _rung(source, key, fields, presets, ("preset", "ladder", "auto", "release", "draft", *RUNTIME, *_RECIPE)),
        )
        if auto is not None:
            at = (*key, "auto" if source.written((*key, "auto")) is not None else "ratio")
            search = _search(source, at, auto, rungs[0].recipe)
            rungs = (Rung(name=f"auto-{rungs[0].name}", recipe=search.base),)
    for rung in rungs:
        refuse_unfit(source, key, runtime, rung.recipe)
    release = not any(FORMATS[rung.recipe.format].equals for rung in rungs) if release is None else release
    return Target(name=name, runtime=runtime, rungs=rungs, search=search, release=release, draft=draft)


def _release(source: Source, key: Key, fields: dict[str, Any]) -> bool | None:
    release = fields.pop("release", None)
    if not isinstance(release, bool | None):
        raise source.error((*key, "release"), f"is {kind_of(release)}; allowed: true or false")
    return release


def _share(source: Source, key: Key, fields: dict[str, Any], presets: Presets) -> dict[str, Any] | None:
    """Take `ratio` out of a target whose engine has no ranking of its own: it is then a search; None: it is not."""
    ratio = fields["ratio"]
    plain = {word: value for word, value in fields.items() if word != "ratio"}
    base = _rung(source, key, plain, presets, ("preset", "ladder", "auto", *RUNTIME, *_RECIPE)).recipe
    if not ENGINES[base.engine].streams or not isinstance(ratio, float | int) or not 0 < ratio < 1:
        return None
    if not FORMATS[base.format].mixes or DTYPES[base.dtype].bits >= 8:
        raise source.error(
            (*key, "ratio"),
            f"is the share of weights in {base.dtype}, the rest in int8, which is for format {' or '.join(mixing())} of engine "
            "streaming, or for engine nncf, and for dtypes of fewer bits",
        )
    del fields["ratio"]
    return {"share": ratio, "dtypes": [base.dtype, "int8"]}


def _search(source: Source, at: Key, written: Any, base: Recipe) -> Search:
    """What is written at a key, `auto` or `ratio`, as a search from a recipe."""
    key = at[:-1]
    try:
        auto = Auto.model_validate_json(json.dumps(written), strict=True)
    except ValidationError as error:
        raise explain(source, error, Auto, at) from error
    format_ = FORMATS[base.format]
    if not (ENGINES[base.engine].streams and format_.mixes):
        message = f"is for engine streaming with format {' or '.join(mixing())}, which alone store mixed dtypes"
        raise source.error(at, message)
    if base.overrides:
        raise source.error(
            (*key, "overrides"), f"cannot stand beside {at[-1]}, which decides the dtype of every linear"
        )
    for number, dtype in enumerate(auto.dtypes):
        if dtype not in (holds := format_.holds(base.engine)):
            allowed = sorted(holds)
            raise source.error((*at, "dtypes", number), f"is {dtype}, which is no integer dtype{choices(allowed)}")
        if DTYPES[dtype].asymmetric is None and not base.symmetric:
            raise source.error((*at, "dtypes", number), f"is {dtype}, a symmetric grid, in an asymmetric recipe")
        if not base.symmetric and dtype in format_.symmetric:
            message = f"offers {dtype}, which format {base.format} holds symmetric alone, in an asymmetric recipe"
            raise source.error(at, f"{message}; take symmetric: true, or name other dtypes")
    return Search(auto=auto, base=base)


def _ladder(source: Source, key: Key, fields: dict[str, Any], presets: Presets) -> tuple[Rung, ...]:
    steps = fields.pop("ladder")
    if fields:
        raise source.error(
            (*key, next(iter(fields))), "cannot stand beside ladder; write it in the rung it is meant for"
        )
    if not isinstance(steps, list) or not steps:
        what = "an empty list" if steps == [] else kind_of(steps)
        raise source.error(
            (*key, "ladder"), f"is {what}; allowed: a list of preset names and recipes, the cheapest first"
        )
    rungs: list[Rung] = []
    for number, step in enumerate(steps):
        at = (*key, "ladder", number)
        if not isinstance(step, str | dict):
            raise source.error(at, f"is {kind_of(step)}; allowed: the name of a preset, or a mapping of recipe fields")
        rung = _rung(source, at, {"preset": step} if isinstance(step, str) else step, presets, ("preset", *_RECIPE))
        same = [i for i, earlier in enumerate(rungs) if earlier.recipe == rung.recipe]
        if same:
            raise source.error(
                at, f"is the same recipe as rung {same[0] + 1}, which then has not passed; remove one of them"
            )
        taken = sum(earlier.name.partition(".")[0] == rung.name for earlier in rungs)
        rungs.append(rung.model_copy(update={"name": f"{rung.name}.{taken + 1}"}) if taken else rung)
    return tuple(rungs)


def _rung(source: Source, key: Key, written: dict[str, Any], presets: Presets, allowed: tuple[str, ...]) -> Rung:
    for word in written:
        if word not in allowed:
            raise source.error((*key, word), "is not a key" + choices(allowed) + nearest(word, allowed))
    changes = {word: value for word, value in written.items() if word != "preset"}
    if "preset" not in written:
        recipe = recipe_at(source, key, changes)
        return Rung(name=name_of(recipe), recipe=recipe)
    preset = written["preset"]
    if not isinstance(preset, str) or preset not in presets.recipes:
        at = (*key, "preset")
        raise source.error(at if source.written(at) is not None else key, _unknown(preset, presets))
    if not changes:
        return Rung(name=preset, recipe=presets.recipes[preset])
    recipe = recipe_at(source, key, {**presets.written[preset], **changes})
    return Rung(name=name_of(recipe), recipe=recipe)


def _unknown(preset: Any, presets: Presets) -> str:
    known = list(presets.recipes)
    close = get_close_matches(str(preset), known, n=5, cutoff=0.3) or known[:5]
    where = f" and of {shown(presets.path)}" if presets.path else ""
    allowed = f"those of `quantmill presets`{where} ({len(known)} in all), such as {', '.join(close)}"
    return f"{preset!r} is no preset; allowed: {allowed}{nearest(preset, known)}"
