"""The tables agree with each other, and with what is installed and written."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from catalog.dtypes import DTYPES
from catalog.engines import ENGINES
from catalog.formats import FORMATS, LOADABLE
from catalog.libraries import installed, known
from catalog.tasks import TASKS
from flows.manifest.schema import schema
from gates.clients.client import client_of
from quantizers.parts import exporter_of, layout_of
from quantizers.recipe import Recipe

ROOT = Path(__file__).parents[2]


def offered(node: object) -> set[str]:
    """Values that a JSON schema offers for fields called dtype."""
    values: set[str] = set()
    if isinstance(node, dict):
        values |= set(node.get("dtype", {}).get("enum", ())) if isinstance(node.get("dtype"), dict) else set()
        values = values.union(*map(offered, node.values()))
    elif isinstance(node, list):
        values = values.union(*map(offered, node))
    return values


def test_an_editor_is_offered_the_dtypes_that_some_format_holds() -> None:
    held = {dtype for format_ in FORMATS.values() for dtype in format_.dtypes}
    assert held == offered(schema()) == offered(json.loads((ROOT / "manifests/schema.json").read_text()))


def test_every_pair_that_the_tables_allow_is_a_recipe() -> None:
    made = {
        (recipe.engine, recipe.format, recipe.dtype)
        for format_ in FORMATS.values()
        for engine in format_.engines
        for dtype in format_.holds(engine)
        for size in [*ENGINES[engine].group_sizes.get(dtype, ()), *format_.group_sizes, 128][:1]
        for recipe in [Recipe(engine=engine, format=format_.name, dtype=dtype, group_size=size)]
    }
    assert {format_ for _, format_, _ in made} == FORMATS.keys()
    assert {engine for engine, *_ in made} == ENGINES.keys()
    assert {dtype for *_, dtype in made} == DTYPES.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_behind_every_format_is_code(name: str) -> None:
    if FORMATS[name].interpreter:
        pytest.skip("written by a program of another interpreter")
    layout = layout_of(name)
    assert callable(layout.pack) and callable(layout.slots) and layout.ROWS
    if FORMATS[name].made_from:
        assert callable(exporter_of(name).export) and callable(exporter_of(name).require)


@pytest.mark.parametrize("name", LOADABLE)
def test_behind_every_format_is_a_client(name: str) -> None:
    client = client_of(name)
    assert callable(client.load) and callable(client.damage) and all(map(callable, client.TOKENIZERS.values()))


@pytest.mark.parametrize("name", ENGINES)
def test_behind_every_engine_is_a_function(name: str) -> None:
    module, _, function = ENGINES[name].entry_point.partition(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", FORMATS)
def test_the_stock_class_is_there(name: str, task: str) -> None:
    if FORMATS[name].client.module not in TASKS[task].clients:
        pytest.skip("that client does no such thing")
    if FORMATS[name].interpreter:
        pytest.skip("in an interpreter of its own: make test-itrex")
    module, _, stock = FORMATS[name].loader(task).rpartition(".")
    assert hasattr(import_module(module), stock)


def test_every_library_whose_version_goes_into_keys_is_installed() -> None:
    assert [name for name in known() if installed(name) == "absent"] == []
