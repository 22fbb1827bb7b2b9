import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from hypothesis import given
from hypothesis import strategies as st

from flows.manifest.errors import ManifestError
from flows.manifest.load import load, load_all
from flows.manifest.names import fault_of_id
from flows.manifest.presets import name_of, shipped
from flows.planning.preflight import check
from gates.kinds.divergence import Divergence
from gates.kinds.perplexity import Perplexity
from gates.kinds.tasks import Task
from gates.spec import Gates
from quantizers.recipe import Recipe
from tests.flows.manifest.room import REPOSITORY, furnish

MANIFESTS = REPOSITORY / "manifests"
SHIPPED = sorted((MANIFESTS / "models").glob("*.yaml")) + sorted((MANIFESTS / "demo").glob("*.yaml"))

EVERYTHING = """\
model: {source: acme/Small-1B, revision: v2, name: small}
calibration: {source: acme/prose, name: en, samples: 32, tokens: 64, seed: 7}
evaluation: {source: acme/prose, name: en, column: body, tokens: 128, documents: 50}
targets:
  short: w4-awq-g128
  changed: {preset: w4-awq-g128, group_size: 32, skip: []}
  bare: {dtype: int8, group_size: -1}
  igpu: {preset: ov-w4-g128-r0.8, device: GPU}
  auto:
    ladder: [w4-rtn-g64, {preset: w4-rtn-g64, skip: [lm_head, "*.down_proj"]}, {transform: teq, rounding: compensated}]
gates:
  divergence: {max_kld: 0.02}
  perplexity: {max_increase: 1.5%}
  tasks: {arc_easy: {}}
  size: null
publish: {to: [local, hub], namespace: acme, private: false}
memory: 3.5 GiB
"""


@pytest.fixture
def room(tmp_path: Path) -> Path:
    return furnish(tmp_path / "room")


def manifest(room: Path, text: str, name: str = "m.yaml") -> Path:
    (room / name).parent.mkdir(parents=True, exist_ok=True)
    (room / name).write_text(text)
    return room / name


def test_everything_written_is_read(room: Path) -> None:
    loaded = load(manifest(room, EVERYTHING))
    assert (loaded.model.source, loaded.model.revision, loaded.model.name) == ("acme/Small-1B", "v2", "small")
    assert loaded.directory is None
    calibration, evaluation = loaded.calibration, loaded.evaluation
    assert (calibration.split, calibration.samples, calibration.tokens, calibration.seed) == ("train", 32, 64, 7)
    assert (evaluation.split, evaluation.column, evaluation.tokens, evaluation.documents) == ("test", "body", 128, 50)
    assert loaded.gates == Gates(
        divergence=Divergence(max_kld=0.02),
        perplexity=Perplexity(max_increase=0.015),
        tasks={"arc_easy": Task(min_recovery=0.98)},
        size=None,
    )
    assert (loaded.publish.to, loaded.publish.namespace, loaded.publish.private) == (("local", "hub"), "acme", False)
    assert loaded.memory_bytes == 3584 * 2**20
    assert loaded.release("short") == "acme/small-short"


def test_targets_resolve_to_explicit_recipes(room: Path) -> None:
    targets = load(manifest(room, EVERYTHING)).targets
    assert list(targets) == ["short", "changed", "bare", "igpu", "auto"]
    rungs = {name: [(rung.name, rung.recipe) for rung in target.rungs] for name, target in targets.items()}
    awq = Recipe(dtype="int4", group_size=128, transform="awq", range="mse")
    assert rungs["short"] == [("w4-awq-g128", awq)]
    assert rungs["changed"] == [("w4-awq-g32", awq.model_copy(update={"group_size": 32, "skip": ()}))]
    assert rungs["bare"] == [("w8-rtn", Recipe(dtype="int8", group_size=-1))]
    assert rungs["auto"] == [
        ("w4-rtn-g64", Recipe(group_size=64)),
        ("w4-rtn-g64.2", Recipe(group_size=64, skip=("lm_head", "*.down_proj"))),
        ("w4-teq-compensated-g128", Recipe(transform="teq", rounding="compensated")),
    ]
    assert {name: target.runtime.device for name, target in targets.items() if target.runtime.said} == {"igpu": "GPU"}
    assert targets["igpu"].rungs[0].recipe.ratio == 0.8


def test_a_search_has_a_budget_and_a_base(room: Path) -> None:
    text = "model: {source: ./model}\ntargets:\n"
    text += "  a: {preset: w4-rtn-g64, auto: {max_kld: 0.02}}\n  b: {auto: {max_ratio: 30%, dtypes: [int3, int8]}}\n"
    text += "  c: {format: openvino, auto: {max_kld: 0.02}}\n"
    one, other, ir = (target.search for target in load(manifest(room, text)).targets.values())
    assert one and (one.auto.max_kld, one.auto.max_ratio, one.auto.dtypes) == (0.02, None, ("int4", "int8"))
    assert one.base == Recipe(group_size=64)
    assert other and (other.auto.max_ratio, other.auto.dtypes, other.base) == (0.3, ("int3", "int8"), Recipe())
    assert ir and ir.base == Recipe(format="openvino")


def test_what_is_left_out_has_its_default(room: Path) -> None:
    loaded = load(manifest(room, "model: {source: ./model}\ntargets: {int4: {}}\n"))
    assert loaded.model.name == "model"
    assert loaded.directory == room / "model"
    assert loaded.calibration.where == "Salesforce/wikitext wikitext-2-raw-v1 train"
    assert loaded.evaluation.where == "Salesforce/wikitext wikitext-2-raw-v1 test"
    assert (loaded.calibration.samples, loaded.calibration.tokens, loaded.evaluation.tokens) == (128, 512, 512)
    assert loaded.targets["int4"].rungs[0].recipe == Recipe()
    assert loaded.gates == Gates()
    assert (loaded.publish.to, loaded.publish.namespace, loaded.memory_bytes) == (("local",), "local", None)


def test_null_means_the_default_text(room: Path) -> None:
    text = "model: {source: ./model}\nevaluation: {source: null, split: null}\ntargets: {int4: nf4}\n"
    assert load(manifest(room, text)).evaluation.where == "Salesforce/wikitext wikitext-2-raw-v1 test"


def test_a_data_set_of_ones_own_inherits_no_configuration(room: Path) -> None:
    loaded = load(manifest(room, "model: {source: ./model}\nevaluation: {source: a/b}\ntargets: {int4: nf4}\n"))
    assert (loaded.evaluation.source, loaded.evaluation.name, loaded.evaluation.split) == ("a/b", None, "test")


def test_an_existing_directory_is_a_path_and_anything_else_a_hub_id(room: Path) -> None:
    text = "model: {{source: {}}}\ntargets: {{int4: nf4}}\n"
    assert load(manifest(room, text.format("model"))).directory == room / "model"
    assert load(manifest(room, text.format("gpt2"))).directory is None


def test_files_are_absolute_wherever_the_reader_stands(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = manifest(
        room, "model: {source: ./model}\nevaluation: {files: evaluation.jsonl}\ntargets: {int4: w4-rtn-g32}\n"
    )
    monkeypatch.chdir(room.parent)
    loaded = load(path.relative_to(room.parent))
    assert loaded.path == path
    assert loaded.evaluation.files == (room / "evaluation.jsonl",)
    check(loaded)


def test_anchors_are_read(room: Path) -> None:
    text = "model: {source: ./model}\ntargets:\n  a: &a {preset: w4-rtn-g32}\n  b: *a\n"
    targets = load(manifest(room, text)).targets
    assert targets["a"].rungs == targets["b"].rungs


def test_the_nearest_targets_yaml_adds_to_the_presets_that_are_shipped_and_replaces_some(room: Path) -> None:
    manifest(room, "mine: {dtype: int3}\nnf4: {dtype: int8}\n", "team/targets.yaml")
    text = "model: {source: a/b}\ntargets: {t: mine, nf4: nf4, shipped: w4-rtn-g32}\n"
    loaded = load(manifest(room, text, "team/deep/m.yaml")).targets
    assert {name: target.rungs[0].recipe for name, target in loaded.items()} == {
        "t": Recipe(dtype="int3"),
        "nf4": Recipe(dtype="int8"),
        "shipped": Recipe(dtype="int4", group_size=32),
    }
    with pytest.raises(ManifestError, match="'mine' is no preset"):
        load(manifest(room, text, "other/m.yaml"))


def test_changed_presets_are_read_again(room: Path) -> None:
    path = manifest(room, "model: {source: a/b}\ntargets: {t: mine}\n")
    for dtype in ("int3", "int8"):
        (room / "targets.yaml").write_text(f"mine: {{dtype: {dtype}}}\n")
        assert load(path).targets["t"].rungs[0].recipe.dtype == dtype


def test_paths_elsewhere_are_read_when_allowed(room: Path) -> None:
    text = "model: {source: ../model}\nevaluation: {files: ../evaluation.jsonl}\ntargets: {t: w4-rtn-g32}\n"
    path = manifest(room, text, "deep/m.yaml")
    with pytest.raises(ManifestError, match="--allow-path"):
        load(path)
    loaded = load(path, allow_path=True)
    check(loaded, allow_path=True)
    assert loaded.directory == room / "model"


def test_a_linked_weight_file_elsewhere_needs_permission(room: Path) -> None:
    weights = room / "model" / "model.safetensors"
    blob = weights.rename(room.parent / "blob")
    weights.symlink_to(blob)
    loaded = load(manifest(room, "model: {source: ./model}\ntargets: {t: w4-rtn-g32}\n"))
    with pytest.raises(ManifestError, match="through a symbolic link"):
        check(loaded)
    check(loaded, allow_path=True)


def test_two_manifests_cannot_make_the_same_release(room: Path) -> None:
    one = manifest(room, "model: {source: a/b}\ntargets: {t: nf4}\n", "one.yaml")
    two = manifest(room, "model: {source: c/B}\ntargets:\n  x: nf4\n  t: nf4\n", "two.yaml")
    assert len(load_all([one])) == 1
    with pytest.raises(
        ManifestError, match=r"two\.yaml:4: targets\.t: makes the release local/B-t, which .*one\.yaml makes"
    ):
        load_all([one, two])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_manifest_of_ours_loads(path: Path) -> None:
    loaded = load(path)
    if loaded.directory is None or loaded.directory.is_dir():
        check(loaded)


def test_manifests_are_shipped() -> None:
    assert len(SHIPPED) >= 4


def test_presets_are_named_after_their_parts_and_differ() -> None:
    recipes = shipped().recipes
    assert {name: name_of(recipe) for name, recipe in recipes.items()} == {name: name for name in recipes}
    assert len({recipe.model_dump_json() for recipe in recipes.values()}) == len(recipes)


@given(
    st.from_regex(r"[A-Za-z0-9._/-]{0,12}(\.git|-|/)?[a-z ]{0,2}", fullmatch=True)
    | st.text(max_size=8)
    | st.just("a" * 97)
)
def test_names_are_those_the_hub_accepts(name: str) -> None:
    try:
        validate_repo_id(name)
        accepted = name.isascii() and not any(part[:1] in "_-." for part in name.split("/"))
    except HFValidationError:
        accepted = False
    if accepted:
        assert fault_of_id(name) is None
    if fault_of_id(name) is None:
        validate_repo_id(name)


def test_a_thousand_manifests_of_five_targets_load_and_check_in_half_the_time_a_plan_has(room: Path) -> None:
    text = (MANIFESTS / "demo" / "demo.yaml").read_text().replace("docstring-llama", "m{}").replace("64", "32")
    text = text.replace("w8-rtn-g128", "w8-rtn").replace("w4-rtn-g64", "w4-rtn-g32").replace("g64", "g32")
    paths = [
        manifest(
            room, text.replace("m{}", f"m{i}").replace("nf4: nf4", "nf4: {preset: nf4, group_size: 32}"), f"{i}.yaml"
        )
        for i in range(1000)
    ]
    start = time.process_time()
    for loaded in load_all(paths):
        assert len(loaded.targets) == 5
        check(loaded)
    assert time.process_time() - start < 2.5


def test_reading_manifests_imports_nothing_heavy() -> None:
    code = "import sys, flows.planning.preflight, flows.manifest.load; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY, env=dict(os.environ)
    )
    heavy = {"torch", "prefect", "transformers", "huggingface_hub", "datasets", "pyarrow", "numpy", "safetensors"}
    assert heavy & set(run.stdout.split()) == set()
