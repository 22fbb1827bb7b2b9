"""JSON Schema of a manifest, for editors: `python -m flows.manifest.schema` writes manifests/schema.json.

Made from the models the loader validates with, descriptions included. What several fields must satisfy together is left
to the loader. Specification: https://json-schema.org/draft/2020-12/schema
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from catalog.formats import DEVICES
from flows.manifest.form import Form
from flows.manifest.model import Auto
from flows.manifest.presets import shipped
from flows.manifest.runtime import RunsWith
from quantizers.recipe import Recipe

FILE = Path(__file__).parents[2] / "manifests" / "schema.json"


def schema() -> dict[str, Any]:
    """Return the schema; names of the presets that are shipped are offered, and others are allowed."""
    form = Form.model_json_schema()
    recipe = Recipe.model_json_schema()
    definitions = form["$defs"]
    definitions["Auto"] = Auto.model_json_schema()
    named = {
        "description": "A preset: one that is shipped, or one of the nearest targets.yaml.",
        "anyOf": [{"enum": list(shipped().recipes)}, {"type": "string"}],
    }
    runtime = {
        "device": {
            "description": "Device the artifact is judged on; GPU and NPU with format openvino, cuda and xpu with others.",
            "enum": list(DEVICES),
            "default": "CPU",
        },
        "ov_config": {
            "description": "Properties of OpenVINO that the artifact is judged with, by name, such as PERFORMANCE_HINT.",
            "type": "object",
            "additionalProperties": {"type": ["string", "integer", "boolean"]},
        },
        "runtime": RunsWith.model_json_schema(),
        "draft": {
            "description": "What guesses tokens for it in speculative decoding (format openvino): another target, or a release "
            "in the local hub, namespace/name. The gate acceptance says how many of these must be accepted.",
            "type": "string",
        },
        "release": {
            "description": "Whether what passes is released. Default: true, but for formats that their makers archived.",
            "type": "boolean",
        },
    }
    auto = {
        "description": "A budget of quality or of size; dtypes are searched for, the recipe says how weights are rounded.",
        "$ref": "#/$defs/Auto",
    }
    rung = {**recipe, "title": "Rung", "properties": {"preset": named, **_undefaulted(recipe["properties"])}}
    definitions["Rung"] = rung
    definitions["Recipe"] = {
        **rung,
        "title": "Recipe",
        "properties": {**rung["properties"], "auto": auto, **runtime},
    }
    definitions["Ladder"] = {
        "title": "Ladder",
        "description": "Recipes in order of cost; the first that passes the gates is released.",
        "type": "object",
        "additionalProperties": False,
        "required": ["ladder"],
        "properties": {
            "ladder": {"type": "array", "minItems": 1, "items": {"anyOf": [named, {"$ref": "#/$defs/Rung"}]}},
            **runtime,
        },
    }
    form["properties"]["targets"]["additionalProperties"] = {
        "anyOf": [named, {"$ref": "#/$defs/Recipe"}, {"$ref": "#/$defs/Ladder"}]
    }
    return {"$schema": GenerateJsonSchema.schema_dialect, **form, "title": "quantmill manifest"}


def _undefaulted(properties: dict[str, Any]) -> dict[str, Any]:
    """Move defaults into the descriptions: beside a preset, a field left out has the preset's value."""
    return {
        name: {
            **{key: value for key, value in field.items() if key != "default"},
            "description": f"{field['description']} Default without a preset: {json.dumps(field['default'])}.",
        }
        for name, field in properties.items()
    }


def _on_one_line(value: Any) -> Any:
    """Unwrap descriptions, which pydantic takes from docstrings as they stand in the source."""
    if isinstance(value, list):
        return [_on_one_line(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: " ".join(item.split()) if key == "description" and isinstance(item, str) else _on_one_line(item)
        for key, item in value.items()
    }


def text() -> str:
    """Return the file's contents."""
    return json.dumps(_on_one_line(schema()), indent=2) + "\n"


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    path.write_text(text())
