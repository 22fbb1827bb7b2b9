"""What `plan` says of adapters: what is to be done for them, and what cannot be one."""

import re
from pathlib import Path

import pytest
import yaml

from adapters.backends import is_here
from catalog.errors import EnvironmentFault
from flows.manifest.errors import ManifestError
from flows.manifest.load import load
from flows.planning.machine import leave_out, refuse_unfit, torch_has
from flows.planning.plan import plan, read
from flows.reports.outcomes import outcomes
from flows.store import Store
from tests.adapters.conftest import functions, written
from tests.flows.conftest import ROOT, room

PAGE = (ROOT / "docs/adapters.md").read_text()
NAME = "demo/docstring-llama-functions"
ENTRY = {
    "base": "nf4",
    "data": {"files": ["train.jsonl"]},
    "held_out": {"files": ["held-out.jsonl"], "tokens": 64},
    "rank": 4,
    "alpha": 8,
    "target_modules": ["q_proj", "v_proj"],
    "steps": 8,
    "batch": 8,
    "micro_batch": 8,
    "tokens": 64,
    "learning_rate": 0.005,
    "compute": "fp32",
    "gates": {"min_gain": 0.3, "max_kld": 0.3},
}


def test_the_manifest_of_the_page_is_the_one_that_is_run_here(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert yaml.safe_load(example)["adapters"] == {"functions": ENTRY}
    (tmp_path / "m.yaml").write_text(example)
    assert load(tmp_path / "m.yaml").release("functions") == NAME


def manifest_of(original: Path, name: str = "adapters.yaml", **changes: object) -> Path:
    """The demo's manifest with two of its targets, and an adapter on one of them."""
    written(original.with_name("train.jsonl"), functions(16, 0))
    written(original.with_name("held-out.jsonl"), functions(24, 1))
    said = yaml.safe_load(original.read_text())
    said["targets"] = {"nf4": "nf4", "int8": "w8-rtn-g128"}
    said["adapters"] = {"functions": {**ENTRY, **changes}}
    manifest = original.with_name(name)
    manifest.write_text(yaml.safe_dump(said))
    return manifest


@pytest.fixture(scope="module")
def unmilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return room(tmp_path_factory.mktemp("refused"))


def test_an_adapter_waits_for_its_base_which_is_made_for_it_alone(unmilled: Path) -> None:
    todo = plan(read([manifest_of(unmilled)]), Store(unmilled.parent / "home"), targets=["functions"])
    assert [each.job.target.name for each in todo.jobs] == ["nf4"]
    ((name, state, steps, why),) = [(each.job.name, each.state, each.steps, each.why) for each in todo.adapters]
    assert (name, state, why) == ("functions", "stale", "waits for its base")
    assert steps == ("texts", "contamination", "train", "gate", "publish")


@pytest.mark.skipif(torch_has("xpu"), reason="this machine may have one")
def test_an_adapter_whose_base_is_for_another_machine_is_left_out_with_it(unmilled: Path) -> None:
    manifest, store = manifest_of(unmilled, "device.yaml"), Store(unmilled.parent / "home")
    said = yaml.safe_load(manifest.read_text())
    said["targets"]["nf4"] = {"preset": "nf4", "device": "xpu"}
    manifest.write_text(yaml.safe_dump(said))
    todo = plan(read([manifest]), store)
    fitting, absent = leave_out(todo)
    assert [each.job.target.name for each in fitting.jobs] == ["int8"]
    rows = {row["target"]: row for row in outcomes(todo, store, absent)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "nf4": "left out",
        "int8": "stale",
        "functions": "left out",
    }
    why = "its base demo/docstring-llama-nf4 is refused on this machine: device xpu is not on this machine, where torch"
    assert rows["functions"]["why"].startswith(why) and "fault" not in rows["int8"]


@pytest.mark.skipif(is_here("ccl"), reason="oneCCL's binding is installed")
def test_processes_share_gradients_by_what_is_installed_and_what_is_not_is_refused(unmilled: Path) -> None:
    store = Store(unmilled.parent / "home")
    (one,), (two,) = (
        plan(read([manifest_of(unmilled, "backend.yaml", micro_batch=4, processes=n)]), store).adapters for n in (1, 2)
    )
    assert (one.job.backend, two.job.backend) == ("gloo", "gloo")
    assert [each.job.train.inputs["backend"] for each in (one, two)] == [None, "gloo"]
    asked = plan(read([manifest_of(unmilled, "backend.yaml", micro_batch=4, processes=2, backend="ccl")]), store)
    assert asked.adapters[0].job.train.key != two.job.train.key
    with pytest.raises(EnvironmentFault) as error:
        refuse_unfit(asked, store.home)
    said = str(error.value)
    assert "adapters.functions: backend ccl needs the package oneccl_bindings_for_pytorch" in said and "gloo" in said


WRONG = [
    ({"base": "nf5"}, "adapters.functions.base: is 'nf5', and there is no such target"),
    ({"base": "int8"}, "in format compressed-tensors, beside whose packed weights peft trains nothing"),
    ({"target_modules": ["query_proj"]}, "ends the name of no linear"),
    ({"rank": 300}, "adapters.functions.rank: is 300, more than the rank of"),
    ({"tokens": 100_000}, "and a step reads 8 rows of 100000"),
    ({"data": {"files": ["absent.jsonl"]}}, "absent.jsonl does not exist"),
    ({"data": {"files": ["held-out.jsonl"]}}, "with training text"),
    ({"batch": 6, "micro_batch": 4}, "no multiple of the 4 rows"),
    ({"held_out": {"files": ["few.jsonl"]}}, "fewer than 5 documents"),
    ({"data": {"column": "text"}}, "names either files, or a data set"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_cannot_be_an_adapter_is_refused_by_plan(unmilled: Path, changes: dict, words: str) -> None:
    written(unmilled.with_name("few.jsonl"), functions(2, 3))
    manifest = manifest_of(unmilled, "wrong.yaml", **changes)
    with pytest.raises(ManifestError) as error:
        plan(read([manifest]), Store(unmilled.parent / "home"))
    assert words in str(error.value), str(error.value)
