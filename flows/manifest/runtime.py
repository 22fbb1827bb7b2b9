"""Read what a target says of how its release is run: `device`, `ov_config` and `runtime`."""

from __future__ import annotations

import json
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from catalog.devices import DEVICE_RULES
from catalog.dtypes import DTYPES
from catalog.format import Format
from catalog.formats import DEVICES, FORMATS
from catalog.runtime import Compute, RuntimeOptions
from flows.manifest.computes import multiplying
from flows.manifest.errors import choices, nearest
from flows.manifest.explain import explain
from flows.manifest.scalars import kind_of
from flows.manifest.yaml_source import Key, Source
from quantizers.recipe import Recipe

RUNTIME = ("device", "ov_config", "runtime")
"""Keys of a target that say how its release is run, not what it is."""


class RunsWith(BaseModel):
    """How the CPU computes when the artifact is judged, as its card then tells."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    compute: Compute | None = None
    """Dtype of matrix products. `auto`: the fastest that the CPU of the machine that plans has instructions for; int8, with
    activations quantized as they come, in format openvino. Default: the client's own."""


def runtime_of(source: Source, key: Key, fields: dict[str, Any]) -> RuntimeOptions:
    """Take out of `fields` what is written of a target's runtime at `key`. Raises ManifestError."""
    device = fields.pop("device", "CPU")
    if device not in DEVICES:
        raise source.error((*key, "device"), f"is {device!r}{choices(DEVICES)}{nearest(device, DEVICES)}")
    try:
        runs = RunsWith.model_validate_json(json.dumps(fields.pop("runtime", {})), strict=True)
    except ValidationError as error:
        raise explain(source, error, RunsWith, (*key, "runtime")) from error
    properties = _properties(source, (*key, "ov_config"), fields.pop("ov_config", {}))
    return RuntimeOptions(device=device, compute=runs.compute, ov_config=properties)


def _properties(source: Source, key: Key, written: Any) -> dict[str, Any]:
    if not isinstance(written, dict):
        raise source.error(
            key, f"is {kind_of(written)}; a mapping of OpenVINO's properties, such as {{PERFORMANCE_HINT: LATENCY}}"
        )
    for name, value in written.items():
        if not isinstance(value, str | int | bool):
            raise source.error((*key, name), f"is {kind_of(value)}; a property is a word, a whole number or a truth")
        if isinstance(value, str) and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()):
            advice = "a release names no directory of a machine: give a relative path, which is its user's"
            raise source.error((*key, name), f"is the path {value}; {advice}")
    return dict(sorted(written.items()))


def refuse_unfit(source: Source, key: Key, runtime: RuntimeOptions, recipe: Recipe) -> None:
    """Refuse what the client of a recipe's format, or the device, cannot do with it. Raises ManifestError."""
    format_ = FORMATS[recipe.format]
    if runtime.device not in format_.devices:
        said = f"is {runtime.device}, which format {recipe.format} does not run on{choices(format_.devices)}"
        raise source.error((*key, "device"), said)
    if runtime.ov_config and not format_.properties:
        able = " or ".join(other.name for other in FORMATS.values() if other.properties)
        raise source.error((*key, "ov_config"), f"is for format {able}; the client of {recipe.format} takes none")
    if problem := _compute(runtime, format_, recipe):
        raise source.error((*key, "runtime", "compute"), problem)
    if problem := _device(runtime.device, recipe):
        raise source.error((*key, "device"), problem)


def _compute(runtime: RuntimeOptions, format_: Format, recipe: Recipe) -> str | None:
    compute = runtime.compute
    if compute is None:
        return None
    able = ("auto", *multiplying(format_, recipe))
    if not format_.computes:
        return f"is for other formats: {format_.name} multiplies in the dtype that its config.json names; leave it out"
    if compute not in able:
        weights = f" with {_weights(recipe)}" if compute in format_.computes else ""
        return f"is {compute}, which the client of format {format_.name} does not multiply in{weights}{choices(able)}"
    if runtime.device != "CPU":
        otherwise = "give `ov_config: {INFERENCE_PRECISION_HINT: …}`" if format_.properties else "leave it out"
        return f"is for device CPU; on {runtime.device} {otherwise}"
    decided = {name for chosen in format_.computes.values() for name in chosen.get("ov_config", {})}
    if twice := sorted(decided & runtime.ov_config.keys()):
        return f"decides {twice[0]}, which ov_config gives, too; leave one of them out"
    return None


def _weights(recipe: Recipe) -> str:
    return f"weights in {recipe.dtype}" + ("" if recipe.symmetric else " with zero points")


def _device(device: str, recipe: Recipe) -> str | None:
    """What the compiler of a device does not take of a recipe's weights."""
    rules = DEVICE_RULES.get(device)
    if rules is None or DTYPES[recipe.dtype].bits >= 8:
        return None
    sizes = " or ".join(map(str, rules.group_sizes))
    wanted = {
        "symmetric: true": recipe.symmetric or rules.asymmetric,
        f"group_size: {sizes}": recipe.group_size in rules.group_sizes,
        "ratio: 1": recipe.ratio in rules.ratio,
    }
    missing = [words for words, holds in wanted.items() if not holds]
    if not missing:
        return None
    return (
        f"is {device}, whose compiler takes weights in {DTYPES[recipe.dtype].bits} bits with {' and '.join(wanted)} alone: give "
        f"{' and '.join(missing)}, or take a preset such as {rules.preset}"
    )
