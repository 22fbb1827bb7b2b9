"""Everything that is wrong with what is given is told while planning: one paragraph, an exit code, and nothing begun."""

import json
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import Fault
from flows.manifest.errors import ManifestError
from flows.planning.machine import refuse_unfit
from flows.planning.plan import plan, read
from flows.store import Store
from tests.flows.conftest import quantmill
from tests.flows.manifest.room import CONFIG, SHAPES, furnish
from tests.flows.manifest.wrong.case import TARGETS, TEXTS
from tests.flows.preflight.case import Input, model, targets
from tests.flows.preflight.machines import MACHINES
from tests.flows.preflight.models import CONFIGURATIONS, TOKENIZERS, WEIGHTS
from tests.flows.preflight.recipes import RECIPES
from tests.flows.preflight.texts import TEXTS_AND_TASKS

ALL = WEIGHTS + CONFIGURATIONS + TOKENIZERS + RECIPES + TEXTS_AND_TASKS + MACHINES


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the harness knows is read once."""
    return tmp_path_factory.mktemp("home")


def written(wrong: Input, directory: Path) -> Path:
    room = furnish(directory)
    manifest = room / "m.yaml"
    manifest.write_text(wrong.manifest)
    wrong.arrange(room)
    return manifest


def begun(home: Path) -> list[str]:
    """What is in a store beside what planning remembers."""
    return [path.name for path in home.iterdir() if path.name != "cache"] if home.exists() else []


@pytest.mark.timeout(20)
@pytest.mark.parametrize("wrong", ALL, ids=lambda wrong: wrong.name)
def test_a_wrong_input_is_refused_while_planning(wrong: Input, home: Path, tmp_path: Path) -> None:
    manifest = written(wrong, tmp_path / "room")
    with pytest.raises(Fault) as caught:
        refuse_unfit(plan(read([manifest]), Store(home)), home)
    error = caught.value
    assert error.exit_code == wrong.exit_code, str(error)
    if isinstance(error, ManifestError):
        assert error.key == wrong.key, str(error)
        assert error.line is not None
    assert [words for words in wrong.says if words not in str(error)] == [], str(error)
    assert "\n" not in str(error) and "\x1b" not in str(error)
    assert len(str(error).replace(str(tmp_path), "")) < 700
    assert begun(home) == []


def test_no_two_rows_have_one_name() -> None:
    assert len({wrong.name for wrong in ALL}) == len(ALL) >= 60


@pytest.mark.parametrize(
    ("commit", "changed", "says"),
    [
        ("a" * 40, {}, None),
        ("b" * 40, {"num_hidden_layers": 3}, "num_hidden_layers is 3, and the weights hold 2 blocks"),
        ("c" * 40, {"model_type": "mystery"}, "model_type 'mystery'"),
    ],
    ids=["sound", "blocks", "type"],
)
def test_a_model_of_the_hub_is_held_against_its_headers_before_it_is_fetched(
    commit: str, changed: dict[str, Any], says: str | None, tmp_path: Path
) -> None:
    """What is remembered of a model on the Hub, headers and configuration, is all that is here."""
    room, home = furnish(tmp_path / "room"), tmp_path / "home"
    (room / "m.yaml").write_text(f"model: {{source: acme/tiny, revision: {commit}}}\n" + TEXTS + TARGETS)
    memory = home / "cache" / "headers" / "acme" / "tiny" / f"{commit}.json"
    memory.parent.mkdir(parents=True)
    held = {name: ("BF16", shape, 2) for name, shape in SHAPES.items()}
    memory.write_text(json.dumps({"tensors": held, "config": CONFIG | changed}))
    if says is None:
        assert plan(read([room / "m.yaml"]), Store(home)).stale
        return
    with pytest.raises(ManifestError) as caught:
        plan(read([room / "m.yaml"]), Store(home))
    assert caught.value.key == "model.source" and says in str(caught.value)
    assert f"acme/tiny@{commit[:12]}" in str(caught.value)


def test_the_room_that_rows_change_is_sound(home: Path, tmp_path: Path) -> None:
    sound = Input("sound", lambda room: None, ())
    assert [p.state for p in plan(read([written(sound, tmp_path / "room")]), Store(home)).jobs] == ["stale"]


@pytest.mark.parametrize(
    "wrong", [WEIGHTS[0], TOKENIZERS[0], RECIPES[0], TEXTS_AND_TASKS[3]], ids=lambda wrong: wrong.name
)
@pytest.mark.parametrize("verb", ["plan", "run"])
def test_the_command_line_says_so_and_begins_nothing(verb: str, wrong: Input, tmp_path: Path) -> None:
    manifest = written(wrong, tmp_path / "room")
    ran = quantmill(verb, manifest, home=tmp_path / "home")
    assert (ran.code, ran.stdout) == (wrong.exit_code, "")
    assert ran.stderr.startswith(f"Error: {manifest}:")
    assert all(words in ran.stderr for words in wrong.says), ran.stderr
    assert "Traceback" not in ran.stderr and ran.stderr.count("\n") == 1
    assert begun(tmp_path / "home") == []


@pytest.mark.parametrize(
    "pattern", ["layers.1.mlp.up_proj", "*.layers.*.mlp.*", "*up_proj", "model.layers.3.mlp.up_proj"]
)
def test_overrides_that_may_be_meant_are_left_to_the_run(pattern: str, home: Path, tmp_path: Path) -> None:
    manifest = targets(f'{{preset: w4-rtn-g32, overrides: {{"{pattern}": int8}}}}')
    sound = Input("sound", model("olmo2"), (), manifest=manifest)
    assert [p.state for p in plan(read([written(sound, tmp_path / "room")]), Store(home)).jobs] == ["stale"]
