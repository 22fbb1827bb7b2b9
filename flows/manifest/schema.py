"""JSON Schema of a manifest, for editors: `python -m flows.manifest.schema` writes manifests/schema.json.

Made from the models the loader validates with, descriptions included. What several fields must satisfy together is left
to the loader. Specification: https://json-schema.org/draft/2020-12/schema
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from flows.manifest.form import Form
from flows.manifest.model import Auto, Calibration, Device, Evaluation, Model, Publish
from flows.manifest.presets import shipped
from quantizers.recipe import Recipe

FILE = Path(__file__).parents[2] / "manifests" / "schema.json"
_DESCRIBED: tuple[type[BaseModel], ...] = (Form, Model, Calibration, Evaluation, Publish, Recipe, Auto)


def schema() -> dict[str, Any]:
    """Return the schema; names of the presets that are shipped are offered, and others are allowed."""
    found = Form.model_json_schema()
    recipe = Recipe.model_json_schema()
    definitions = found["$defs"]
    definitions["Auto"] = Auto.model_json_schema()
    places = {**definitions, Form.__name__: found, Recipe.__name__: recipe}
    for model in _DESCRIBED:
        if model.__name__ in places:  # a base of others stands in the schema only as a part of them
            _describe(places[model.__name__], model)
    named = {
        "description": "A preset: one that is shipped, or one of the nearest targets.yaml.",
        "anyOf": [{"enum": list(shipped().recipes)}, {"type": "string"}],
    }
    device = {
        "description": "Device the artifact is judged on; GPU and NPU with format openvino.",
        "enum": list(get_args(Device)),
        "default": "CPU",
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
        "properties": {**rung["properties"], "auto": auto, "device": device},
    }
    definitions["Ladder"] = {
        "title": "Ladder",
        "description": "Recipes in order of cost; the first that passes the gates is released.",
        "type": "object",
        "additionalProperties": False,
        "required": ["ladder"],
        "properties": {
            "ladder": {"type": "array", "minItems": 1, "items": {"anyOf": [named, {"$ref": "#/$defs/Rung"}]}},
            "device": device,
        },
    }
    found["properties"]["targets"]["additionalProperties"] = {
        "anyOf": [named, {"$ref": "#/$defs/Recipe"}, {"$ref": "#/$defs/Ladder"}]
    }
    return {"$schema": GenerateJsonSchema.schema_dialect, **found, "title": "quantmill manifest"}


def _undefaulted(properties: dict[str, Any]) -> dict[str, Any]:
    """Move defaults into the descriptions: beside a preset, a field left out has the preset's value."""
    return {
        name: {
            **{key: value for key, value in field.items() if key != "default"},
            "description": f"{field['description']} Default without a preset: {json.dumps(field['default'])}.",
        }
        for name, field in properties.items()
    }


def _describe(found: dict[str, Any], model: type[BaseModel]) -> None:
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            for name, text in _docstrings(base).items():
                found["properties"][name]["description"] = text


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the string below each field in the source of `model`, on one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(note.value.value.split())
        for field, note in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(note, ast.Expr)
        and isinstance(note.value, ast.Constant)
        and isinstance(note.value.value, str)
    }


def text() -> str:
    """Return the file's contents."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    path.write_text(text())
