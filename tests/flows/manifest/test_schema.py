import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from flows.manifest.form import Form
from flows.manifest.runtime import RUNTIME
from flows.manifest.schema import text
from quantizers.recipe import Recipe
from tests.flows.manifest.room import REPOSITORY
from tests.flows.manifest.test_load import EVERYTHING, SHIPPED

FILE = REPOSITORY / "manifests" / "schema.json"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(FILE.read_text())
    Draft202012Validator.check_schema(parsed)
    return parsed


def test_the_schema_is_what_the_models_say() -> None:
    assert FILE.read_text() == text(), "make schema, and commit manifests/schema.json"


@pytest.mark.parametrize(
    "manifest", [path.read_text() for path in SHIPPED] + [EVERYTHING], ids=[*(p.stem for p in SHIPPED), "everything"]
)
def test_an_editor_accepts_what_we_accept(manifest: str, schema: dict[str, Any]) -> None:
    assert [error.message for error in Draft202012Validator(schema).iter_errors(yaml.safe_load(manifest))] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"model": {"source": "a/b"}, "targets": {}},
        {"model": {"source": "a/b"}, "targets": {"t": {"groupsize": 3}}},
        {"model": {"source": "a/b"}, "targets": {"t": {"dtype": "int5"}}},
        {"model": {"source": "a/b"}, "targets": {"t": {"ladder": []}}},
        {"model": {"source": "a/b"}, "targets": {"t": "nf4"}, "gates": {"size": {"max_ratio": "half"}}},
        {"model": {"source": "a/b"}, "targets": {"t": "nf4"}, "publish": {"to": "huh"}},
        {"model": {"source": "a/b"}, "targets": {"t": "nf4"}, "memory": 4},
        {"model": {"source": "a/b"}, "targets": {"t": "nf4"}, "gate": {}},
    ],
)
def test_an_editor_marks_what_we_refuse(wrong: Any, schema: dict[str, Any]) -> None:
    assert list(Draft202012Validator(schema).iter_errors(wrong))


def test_an_editor_explains_every_key(schema: dict[str, Any]) -> None:
    definitions = schema["$defs"]
    for properties in (
        schema["properties"],
        *(
            definitions[name]["properties"]
            for name in ("Model", "Calibration", "Evaluation", "Publish", "Recipe", "Auto", "Ladder")
        ),
    ):
        assert [
            name for name, field in properties.items() if len(field.get("description", "")) < 10 and name != "ladder"
        ] == []
    assert list(schema["properties"]) == list(Form.model_fields)
    assert set(definitions["Recipe"]["properties"]) == {
        "preset",
        "auto",
        "release",
        "draft",
        *RUNTIME,
        *Recipe.model_fields,
    }


def test_an_editor_offers_the_presets(schema: dict[str, Any]) -> None:
    offered = schema["$defs"]["Recipe"]["properties"]["preset"]["anyOf"][0]["enum"]
    assert offered == list(yaml.safe_load((REPOSITORY / "flows" / "manifest" / "presets.yaml").read_text()))
