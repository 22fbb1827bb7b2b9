import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.build import void_if_lost
from flows.execution import requests
from flows.execution.steps import note
from flows.files.fingerprint import ContentHashes
from flows.planning.batches import batches
from flows.planning.cost import gating, scoring_original
from flows.planning.jobs import Job
from flows.planning.kinds import Fetched
from flows.planning.memory import remember
from flows.planning.plan import plan, plan_job, read
from flows.planning.sources import Sources, fetching
from flows.planning.tool_versions import versions
from flows.step import Step
from flows.store import Store
from gates.results import EvidenceResult
from tests.flows.conftest import quantmill, room
from tests.flows.results import artifact, job_of, judged, planned


def keys(job: Job) -> dict[str, str]:
    rung = job.target.rungs[0]
    steps: list[Step[Any]] = [
        job.evaluation,
        job.baseline,
        job.quantize(rung),
        job.evidence(rung, 64, "content"),
        job.verdict(rung),
    ]
    return {f"{n}-{step.kind.name}": step.key for n, step in enumerate([*steps, job.publish(rung)])}


def test_keys_never_change_by_accident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A change here makes every store start anew: it is for what changes results, and goes with a step version.
    monkeypatch.setattr("flows.planning.jobs.versions", lambda step, **_: {"quantmill": step})
    monkeypatch.setattr("flows.planning.jobs.fastest", lambda device: "float32")
    job = job_of(room(tmp_path), tmp_path / "home", "int4-awq")
    assert job.calibration is not None
    steps = {**keys(job), "contamination": job.contamination(job.calibration).key}
    steps["fetch"] = fetching("maker/model", "a" * 40).key
    assert {name: key[:16] for name, key in steps.items()} == {
        "0-texts": "8d03be6dec48ad9b",
        "1-baseline": "f8ab08b771bbc722",
        "2-quantize": "b1d3fa75a972db88",
        "3-evidence": "94eb21a1fbc15a61",
        "4-verdict": "c54742d364ae2ab7",
        "5-publish": "8298ae7bc448fcf1",
        "contamination": "a10ed5086fbb650b",
        "fetch": "44c36b06f27cc3a6",
    }


def edit(old: str, new: str) -> Callable[[Path], None]:
    def change(manifest: Path) -> None:
        text = manifest.read_text()
        assert old in text
        manifest.write_text(text.replace(old, new))

    return change


def flip_a_weight(manifest: Path) -> None:
    path = manifest.parent / "model" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def change_the_tokenizer(manifest: Path) -> None:
    path = manifest.parent / "model" / "tokenizer.json"
    path.write_text(path.read_text().replace('"<s>"', '"<S>"', 1))


def add_a_document(manifest: Path) -> None:
    path = manifest.parent / "evaluation.jsonl"
    path.write_text(path.read_text() + '{"text": "One more document that nobody has seen before."}\n')


ALL = {"baseline", "quantize", "evidence", "verdict", "publish"}


@pytest.mark.parametrize(
    ("change", "renewed"),
    [
        (flip_a_weight, ALL),
        (change_the_tokenizer, ALL),
        (add_a_document, {"texts", "baseline", "evidence", "verdict", "publish"}),
        (edit("int4: w4-rtn-g64", "int4: w4-rtn-g128"), {"quantize", "evidence", "verdict", "publish"}),
        (edit("max_kld: 0.05", "max_kld: 0.04"), {"verdict", "publish"}),
        (edit("gates:", "gates:\n  long_context: {lengths: [64]}"), ALL - {"quantize"}),
        (edit("namespace: demo", "namespace: other"), {"publish"}),
        (edit("samples: 64", "samples: 32"), set()),  # int4 reads no calibration text
        (edit("[evaluation.jsonl], tokens: 256", "[evaluation.jsonl], tokens: 128"), ALL - {"quantize"}),
    ],
)
def test_a_change_renews_what_depends_on_it_and_nothing_else(
    change: Callable[[Path], None], renewed: set[str], tmp_path: Path
) -> None:
    manifest = room(tmp_path)
    before = keys(job_of(manifest, tmp_path / "home"))
    change(manifest)
    after = keys(job_of(manifest, tmp_path / "home"))
    assert {name.split("-")[1] for name in before if before[name] != after[name]} == renewed


def test_what_is_measured_for_one_gate_is_asked_of_both_and_priced(tmp_path: Path) -> None:
    manifest, gate = room(tmp_path), "gates:\n  long_context: {lengths: [512], rows: 6, min_recall: 90%}"
    before = job_of(manifest, tmp_path / "home")
    edit("gates:", gate)(manifest)
    job, store = job_of(manifest, tmp_path / "home"), Store(tmp_path / "home")
    wanted = {"long_context": {"lengths": [512], "rows": 6, "facts": 24}}
    assert requests.baseline(job, store).measured == wanted
    (rung,) = job.target.rungs
    artifact: Any = SimpleNamespace(result=SimpleNamespace(expected_bytes=None))
    assert requests.evidence(job, rung, 8, artifact, None, store).measured == wanted
    longer, priced = (gating(each, rung, 10**6, 8).seconds for each in (job, before))
    assert longer > priced and scoring_original(job).seconds > scoring_original(before).seconds
    keys_before = keys(job)
    edit("min_recall: 90%", "min_recall: 80%")(manifest)
    after = keys(job_of(manifest, tmp_path / "home"))
    assert {name.split("-")[1] for name in after if after[name] != keys_before[name]} == {"verdict", "publish"}


def test_a_new_tool_version_renews_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = room(tmp_path)
    before = keys(job_of(manifest, tmp_path / "home"))
    monkeypatch.setattr("catalog.libraries.installed", lambda name: "99")
    versions.cache_clear()
    after = keys(job_of(manifest, tmp_path / "home"))
    versions.cache_clear()
    assert all(before[name] != after[name] for name in before)


def test_the_manifests_own_name_and_place_are_not_part_of_any_key(tmp_path: Path) -> None:
    manifest = room(tmp_path)
    before = keys(job_of(manifest, tmp_path / "home"))
    (tmp_path / "elsewhere").mkdir()
    moved = room(tmp_path / "elsewhere").rename(tmp_path / "elsewhere" / "demo" / "renamed.yaml")
    assert keys(job_of(moved, tmp_path / "home")) == before


def test_the_plan_says_what_will_run_and_predicts_its_cost(tmp_path: Path) -> None:
    rows = planned(room(tmp_path), tmp_path / "home")
    assert list(rows) == ["int8", "int4", "int4-awq", "nf4", "ov-int4"]
    row = rows["int4"]
    assert (row["state"], row["why"]) == ("stale", "never built")
    assert row["steps"] == ["texts", "baseline", "quantize", "gate", "publish"]
    assert 0.2e9 < row["predicted"]["peak_memory_bytes"] < 2e9
    assert 5 < row["predicted"]["seconds"] < 200
    assert not (tmp_path / "home" / "store").exists()


def test_the_plan_says_what_changed_since_the_last_time(tmp_path: Path) -> None:
    manifest, store = room(tmp_path), Store(tmp_path / "home")
    job = job_of(manifest, store.home)
    remember(job, store)
    assert "no longer in the store" in plan_job(job, store).why
    edit("max_kld: 0.05", "max_kld: 0.04")(manifest)
    flip_a_weight(manifest)
    why = planned(manifest, store.home)["int4"]["why"]
    assert "gates.divergence.max_kld 0.05 → 0.04" in why
    assert "model sha256:" in why


def test_contaminated_evaluation_text_is_bad_input_that_says_what_is_shared(tmp_path: Path) -> None:
    manifest = room(tmp_path)
    passage = json.loads((manifest.parent / "calibration.jsonl").read_text().splitlines()[0])["text"]
    with (manifest.parent / "evaluation.jsonl").open("a") as file:
        file.write(json.dumps({"text": f"It begins in its own words. {passage} And so it ends."}) + "\n")
    home, phrases = tmp_path / "home", ("evaluation.jsonl:123 shares", "calibration.jsonl:1")
    for verb in ("plan", "run"):
        ran = quantmill(verb, manifest, "--target", "int4-awq", home=home)
        assert ran.code == 2, ran.stdout + ran.stderr
        assert " ".join(passage.lower().split()[:3]) in ran.stderr
        assert all(phrase in ran.stderr for phrase in phrases), ran.stderr
        assert not (home / "store").exists()
    assert quantmill("plan", manifest, "--target", "int4", home=home).code == 0  # it reads no calibration text


def test_an_unknown_target_is_an_error_that_helps(tmp_path: Path) -> None:
    ran = quantmill("plan", room(tmp_path), "--target", "int44", home=tmp_path / "home")
    assert ran.code == 2
    assert "did you mean 'int4'" in ran.stderr


def built(job: Job, store: Store) -> None:
    """An artifact that was made, judged and released, as far as planning looks."""
    rung = job.target.rungs[0]
    made = note(store, job.quantize(rung), artifact(), {"config.json": "{}"})
    scored = job.evidence(rung, 64, made.content)
    result = EvidenceResult(documents=64, available=64, failed_checks=(), kld=0.0, perplexity=1.0)
    note(store, scored, result, {"evidence.json": "{}"})
    note(store, job.verdict(rung), judged(True, scored.key, made.content))


@pytest.mark.parametrize("kind", ["quantize", "evidence"])
def test_a_verdict_about_damaged_files_is_void(kind: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    job = job_of(room(tmp_path), store.home)
    rung = job.target.rungs[0]
    built(job, store)
    assert not void_if_lost(job, rung, store)
    assert plan_job(job, store).steps == ("publish",)
    (path,) = (store.home / "store" / kind).glob("*/out/*.json")
    path.write_text("damaged")
    assert void_if_lost(job, rung, store)
    assert "gate" in plan_job(job, store).steps


def test_a_verdict_is_about_these_very_bytes(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    job = job_of(room(tmp_path), store.home)
    built(job, store)
    assert plan_job(job, store).steps == ("publish",)
    note(store, job.quantize(job.target.rungs[0]), artifact(), {"config.json": "{ }"})
    assert plan_job(job, store).steps == ("texts", "baseline", "gate", "publish")
    store.forget(job.quantize(job.target.rungs[0]))
    assert "quantize" in plan_job(job, store).steps


def test_recipes_share_a_pass_only_with_the_same_calibration(tmp_path: Path) -> None:
    manifest = room(tmp_path)
    other = manifest.with_name("other.yaml")
    other.write_text(
        manifest.read_text().replace("samples: 64", "samples: 8").replace("namespace: demo", "namespace: b")
    )
    todo = list(plan(read([manifest, other]), Store(tmp_path / "home")).jobs)
    for _, work in batches(todo):
        asked = requests.quantize(work, Store(tmp_path / "home")).calibration
        keyed = [job.quantize(rung).inputs["calibration"] for job, rung in work]
        assert all(each is None or (asked and each["samples"] == asked.samples) for each in keyed)
    assert sum(len(work) for _, work in batches(todo)) == len(todo)


def test_ir_of_our_engine_shares_the_pass_with_compressed_tensors(tmp_path: Path) -> None:
    manifest = room(tmp_path)
    manifest.write_text(manifest.read_text().replace("ov-int4: ov-w4-g64", "ov-int4: ov-w4-awq-compensated-asym-g64"))
    todo = list(plan(read([manifest]), Store(tmp_path / "home")).jobs)
    ((_, work),) = batches(todo)
    recipes = {job.target.name: rung.recipe for job, rung in work}
    assert recipes["ov-int4"] == recipes["int4-awq"].model_copy(update={"format": "openvino", "embeddings": "int8"})
    tools = {job.target.name: job.quantize(rung).inputs["tools"] for job, rung in work}
    assert {"openvino", "optimum-intel", "numba", "compressed-tensors"} < set(tools["ov-int4"])
    assert "openvino" not in tools["int4-awq"] and "nncf" not in tools["ov-int4"]


def test_a_fetch_that_was_killed_is_not_taken_for_the_model(tmp_path: Path) -> None:
    home = tmp_path / "home"
    snapshot = home / "sources" / "models--maker--model" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    sources = Sources(Store(home), ContentHashes(home / "hashes.json"))
    assert sources.snapshot("maker/model", "a" * 40) is None
    note(Store(home), fetching("maker/model", "a" * 40), Fetched(directory=snapshot))
    assert sources.snapshot("maker/model", "a" * 40) == snapshot


def test_two_manifests_with_one_release_name_are_refused_in_one_run(tmp_path: Path) -> None:
    manifest = room(tmp_path)
    other = manifest.with_name("other.yaml")
    other.write_text(manifest.read_text().replace("max_kld: 0.05", "max_kld: 0.04"))
    ran = quantmill("run", manifest, other, home=tmp_path / "home")
    assert ran.code == 2
    assert all(name in ran.stderr for name in ("demo.yaml", "other.yaml", "demo/docstring-llama-int8"))
    assert not (tmp_path / "home" / "store").exists()
    other.write_text(other.read_text().replace("namespace: demo", "namespace: other"))
    assert len(plan(read([manifest, other]), Store(tmp_path / "home")).jobs) == 10


def test_a_manifest_that_is_named_twice_is_planned_once(tmp_path: Path) -> None:
    manifest = room(tmp_path)
    assert len(plan(read([manifest, manifest.parent / "." / manifest.name]), Store(tmp_path / "home")).jobs) == 5
