"""What becomes of the store and of the local hub: damage is noticed and mended, names mean one thing, nothing grows."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import StepFault
from flows.cli.app import main
from flows.execution.lock import at_work
from flows.execution.repair import repair
from flows.execution.steps import note
from flows.planning.jobs import Job
from flows.planning.kinds import BASELINE, EVIDENCE, PUBLISH, QUANTIZE, TEXTS, VERDICT
from flows.planning.memory import claim
from flows.planning.plan import plan, plan_job, read
from flows.reports.report import render
from flows.store import Store
from publishers.destinations.destination import Release
from publishers.destinations.local import Local
from publishers.request import Draft, Source
from publishers.stage import stage
from publishers.verify import verify
from tests.flows.conftest import room
from tests.flows.results import artifact, milled, release, repository
from tests.publishers.conftest import EVIDENCE as MEASURED
from tests.publishers.conftest import SUMMARY, subject_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = room(tmp_path)
    kept = [
        line for line in path.read_text().splitlines() if not line.startswith(("  int8:", "  int4-", "  nf4:", "  ov-"))
    ]
    path.write_text("\n".join(kept) + "\n")
    return path


def job_of(manifest: Path, store: Store) -> Job:
    (planned,) = plan(read([manifest]), store).jobs
    return planned.job


@pytest.fixture
def job(manifest: Path, store: Store) -> Job:
    job = job_of(manifest, store)
    milled(job, store)
    return job


def find(home: Path, name: str) -> Release:
    return Local("", home).find(name)


def rollback(home: Path, name: str, version: str) -> None:
    local = Local("", home)
    local.rollback(local.find(name, version))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def blob_of(path: str) -> Callable[[Store, Job], Path]:
    def blob(store: Store, job: Job) -> Path:
        directory = find(store.home, job.release).directory
        assert directory
        return (directory / path).resolve()

    return blob


def damaged(name: str, store: Store, job: Job) -> None:
    folder, listed = repository(store, job), find(store.home, job.release)
    if name == "a byte of the weights":
        flip((listed.directory / "model.safetensors").resolve())
    elif name == "a byte of the card":
        flip((listed.directory / "README.md").resolve())
    elif name == "a blob":
        (listed.directory / "model.safetensors").resolve().unlink()
    elif name == "a link":
        (listed.directory / "config.json").unlink()
    elif name == "a file in place of a link":
        (listed.directory / "config.json").unlink()
        (listed.directory / "config.json").write_text("{}")
    elif name == "a version":
        (folder / "refs" / "v1").unlink()
    elif name == "all of it":
        shutil.rmtree(folder)
    else:
        (folder / "refs" / "main").unlink()


DAMAGES = (
    "a byte of the weights",
    "a byte of the card",
    "a blob",
    "a link",
    "a file in place of a link",
    "a version",
    "main",
    "all of it",
)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_in_the_local_hub_is_planned_and_mended_by_publishing(name: str, store: Store, job: Job) -> None:
    before = find(store.home, job.release)
    assert plan_job(job, store).state == "released"
    damaged(name, store, job)
    for retry in (False, True):
        planned = plan_job(job, Store(store.home), retry=retry)
        assert (planned.state, planned.steps) == ("stale", ("publish",)), name
    assert "damaged" in planned.why or "main is" in planned.why
    release(job, store)
    assert plan_job(job, Store(store.home)).state == "released"
    assert find(store.home, job.release) == before


def test_what_was_hashed_once_is_not_read_again(
    store: Store, job: Job, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(read([manifest]), store)
    monkeypatch.setattr("flows.files.fingerprint.file_sha256", lambda path: pytest.fail(f"read {path}"))
    (planned,) = plan(read([manifest]), Store(store.home)).jobs
    assert planned.state == "released"


def test_what_the_store_lost_as_well_is_to_be_made_anew(store: Store, job: Job) -> None:
    damaged("a blob", store, job)
    store.forget(job.quantize(job.target.rungs[0]))
    assert "quantize" in plan_job(job, store).steps


@pytest.mark.parametrize("content", ["", '{"step": "publish"}', "\x00" * 40])
@pytest.mark.parametrize("kind", [TEXTS, BASELINE, QUANTIZE, EVIDENCE, VERDICT, PUBLISH])
def test_a_record_that_does_not_parse_is_a_missing_record(
    kind: object, content: str, store: Store, job: Job, manifest: Path
) -> None:
    for path in (store.home / "store" / kind.name).glob("*/record.json"):  # type: ignore[attr-defined]
        path.write_text(content)
    todo = plan(read([manifest]), store)
    state = {"quantize": "quantize", "verdict": "gate", "publish": "publish"}.get(kind.name)  # type: ignore[attr-defined]
    assert state is None or state in todo.jobs[0].steps
    assert todo.jobs[0].state == ("stale" if state else "released")
    assert job.target.name in render(todo, store)


@pytest.mark.parametrize("file", ["evidence/*/out/evidence.json", "verdict/*/out/verdict.html"])
def test_a_report_is_written_without_what_is_lost(file: str, store: Store, job: Job, manifest: Path) -> None:
    (path,) = (store.home / "store").glob(file)
    path.unlink()
    assert job.target.name in render(plan(read([manifest]), store), store)


def test_a_manifest_that_is_put_back_makes_its_version_main_again(manifest: Path, store: Store, job: Job) -> None:
    text = manifest.read_text()
    manifest.write_text(text.replace("w4-rtn-g64", "w4-rtn-g128"))
    milled(job_of(manifest, store), store, "other weights")
    assert find(store.home, job.release).version == "v2"
    manifest.write_text(text)
    planned = plan_job(job, store)
    assert (planned.state, planned.steps) == ("stale", ("publish",))
    assert planned.why == "main is v2; this manifest makes v1, which is to be main again"
    release(job, store)
    assert find(store.home, job.release).version == "v1"
    assert plan_job(job, store).state == "released"


def test_another_manifest_of_the_same_name_is_named(manifest: Path, store: Store, job: Job) -> None:
    other = manifest.with_name("other.yaml")
    other.write_text(manifest.read_text().replace("w4-rtn-g64", "w4-rtn-g128"))
    milled(job_of(other, store), store, "other weights")
    why = plan_job(job, store).why
    assert "main is v2" in why and str(other) in why
    other.unlink()
    assert "other.yaml" not in plan_job(job, store).why


def test_a_rollback_stands_until_something_new_is_published(manifest: Path, store: Store, job: Job) -> None:
    manifest.write_text(manifest.read_text().replace("w4-rtn-g64", "w4-rtn-g128"))
    newer = job_of(manifest, store)
    milled(newer, store, "other weights")
    rollback(store.home, job.release, "v1")
    planned = plan_job(newer, store)
    assert planned.state == "released" and "main is v1 since a rollback, this is v2" in planned.why
    release(newer, store)
    assert find(store.home, job.release).version == "v1"
    rollback(store.home, job.release, "v2")
    assert plan_job(newer, store).why == "nothing has changed"


@pytest.mark.parametrize("name", DAMAGES)
def test_repair_puts_back_to_the_byte_what_is_damaged(name: str, store: Store, job: Job) -> None:
    before = find(store.home, job.release)
    damaged(name, store, job)
    (mended,) = repair(store, [])
    assert mended.damage and not mended.lost
    assert find(store.home, job.release) == before
    verify(Local("", store.home), job.release)
    assert [one.damage for one in repair(store, [(job.release, "v1")])] == [""]


def test_repair_of_a_version_that_no_manifest_makes_any_more(manifest: Path, store: Store, job: Job) -> None:
    manifest.write_text(manifest.read_text().replace("w4-rtn-g64", "w4-rtn-g128"))
    milled(job_of(manifest, store), store, "other weights")
    for path in (repository(store, job) / "blobs").iterdir():
        flip(path)
    assert sorted((one.version, one.lost) for one in repair(store, [])) == [("v1", ()), ("v2", ())]
    for version in ("v1", "v2"):
        verify(Local("", store.home), job.release, version)


def test_what_cannot_be_mended_is_said_with_the_manifest_that_makes_it(
    store: Store, job: Job, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged("a blob", store, job)
    store.forget(job.quantize(job.target.rungs[0]))
    assert main(["repair", "--home", str(store.home)]) == 1
    said = capsys.readouterr().out
    assert "model.safetensors" in said and f"quantmill run {manifest}" in said
    assert main(["verify", "--home", str(store.home)]) == 2
    assert main(["repair", "acme/absent", "--home", str(store.home)]) == 2


def test_verify_without_a_name_checks_the_whole_hub(store: Store, job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--home", str(store.home)]) == 0
    damaged("a byte of the weights", store, job)
    capsys.readouterr()
    assert main(["verify", "--home", str(store.home), "--json"]) == 2
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["version"]) == (job.release, "v1") and "model.safetensors" in row["wrong"]


def paths(store: Store) -> set[str]:
    """Results and files of the hub."""
    roots = [store.home / "store", store.home / "hub"]
    return {str(path.relative_to(store.home)) for root in roots for path in root.rglob("*") if not path.is_dir()}


def test_gc_removes_nothing_that_a_release_or_a_job_needs(
    store: Store, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    before = paths(store)
    assert main(["gc", "--yes", "--home", str(store.home)]) == 0
    assert "Nothing to remove" in capsys.readouterr().out
    assert paths(store) == before


def test_gc_shows_first_and_removes_when_told(
    manifest: Path, store: Store, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    text = manifest.read_text()
    stale = manifest.with_name("stale.yaml")
    stale.write_text(text.replace("namespace: demo", "namespace: stale").replace("w4-rtn-g64", "nf4"))
    half = job_of(stale, store)
    claim(half, store)
    note(store, half.quantize(half.target.rungs[0]), artifact(), {"weights": "half done"})
    gone = manifest.with_name("gone.yaml")
    gone.write_text(text.replace("namespace: demo", "namespace: gone").replace("w4-rtn-g64", "w8-rtn"))
    dead = job_of(gone, store)
    claim(dead, store)
    note(store, dead.quantize(dead.target.rungs[0]), artifact(), {"weights": "w" * 10_000})
    store.fail(dead.baseline, StepFault("it broke"))
    store.fail(dead.verdict(dead.target.rungs[0]), StepFault("it broke"))
    gone.unlink()
    (store.scratch("quantize-killed") / "out" / "half").write_text("x" * 5000)
    before = paths(store)
    assert main(["gc", "--json", "--home", str(store.home)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert paths(store) == before and not shown["removed"]
    assert {row["what"]: row["count"] for row in shown["garbage"]} == {
        "results of quantize": 1,
        "failures of steps that nothing needs": 1,
        "work of runs that were killed": 1,
    }
    assert 15_000 < shown["bytes"] < 20_000
    assert main(["gc", "--yes", "--json", "--home", str(store.home)]) == 0
    kept = paths(store)
    assert {path.split("/")[1] for path in before - kept} == {"quantize"}
    assert store.complete(half.quantize(half.target.rungs[0]))
    assert plan_job(job, store).state == "released"
    assert repair(store, [])[0].damage == ""


def test_gc_keeps_what_mends_a_version_that_no_manifest_makes(manifest: Path, store: Store, job: Job) -> None:
    manifest.write_text(manifest.read_text().replace("w4-rtn-g64", "w4-rtn-g128"))
    milled(job_of(manifest, store), store, "other weights")
    assert main(["gc", "--yes", "--home", str(store.home)]) == 0
    for path in (repository(store, job) / "blobs").iterdir():
        flip(path)
    assert [one.lost for one in repair(store, [])] == [(), ()]


def test_gc_refuses_while_it_does_not_know_what_is_needed(
    manifest: Path, store: Store, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    with at_work(store):
        assert main(["gc", "--yes", "--home", str(store.home)]) == 2
    assert f"process {os.getpid()} on" in capsys.readouterr().err
    manifest.write_text("targets: 3")
    before = paths(store)
    assert main(["gc", "--yes", "--home", str(store.home)]) == 2
    assert str(manifest) in capsys.readouterr().err
    assert paths(store) == before


def test_rm_takes_a_version_away_and_its_name_is_not_given_again(
    manifest: Path, store: Store, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    text = manifest.read_text()
    manifest.write_text(text.replace("w4-rtn-g64", "w4-rtn-g128"))
    newer = job_of(manifest, store)
    milled(newer, store, "other weights")
    assert main(["rm", f"{job.release}@v2", "--home", str(store.home)]) == 0
    said = capsys.readouterr().out
    assert "removed v2" in said and "main is v1" in said and str(manifest) in said
    assert find(store.home, job.release).version == "v1"
    verify(Local("", store.home), job.release)
    assert [one.version for one in repair(store, [])] == ["v1"]
    assert plan_job(newer, store).steps == ("publish",)
    release(newer, store)
    assert find(store.home, job.release).version == "v3"
    assert main(["rm", job.release, "--home", str(store.home)]) == 0
    assert not list((repository(store, job) / "blobs").iterdir())
    assert main(["rm", job.release, "--home", str(store.home)]) == 2


def drafted(release: Release) -> dict[str, Any]:
    return {"draft": Draft(name=release.name, commit=release.commit, written="small", candidates=4)}


def adapted(release: Release) -> dict[str, Any]:
    assert release.directory
    of = Source(name=release.name, id=release.name, revision=release.commit, directory=release.directory)
    told = dict.fromkeys(("held_out_summary", "general_summary"), SUMMARY)
    texts = {"held_out": [{}], "general": [{}], "base_bytes": 2, "adapter_bytes": 1}
    return {
        "format": "peft",
        "source": of,
        "evidence": {**MEASURED, **told, **texts},
        "recipe": {"rank": 4, "compute": "float32"},
    }


@pytest.mark.parametrize(
    ("by", "how"), [(drafted, "has it as its draft"), (adapted, "is an adapter of it")], ids=["draft", "base"]
)
def test_what_another_release_runs_with_is_removed_after_that(
    by: Callable[[Release], dict[str, Any]],
    how: str,
    store: Store,
    job: Job,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = tmp_path / "weights"
    files.mkdir()
    (files / "config.json").write_text("{}")
    subject = subject_of(files, files, name="demo/large", **by(find(store.home, job.release)))
    Local("", store.home).publish(stage(subject, tmp_path / "stage", store.home))
    assert main(["gc", "--yes", "--home", str(store.home)]) == 0
    assert main(["rm", job.release, "--home", str(store.home)]) == 2
    said = capsys.readouterr().err
    assert f"demo/large@v1 {how}" in said and "quantmill rm demo/large@v1" in said
    assert plan_job(job, store).state == "released"
    assert main(["rm", "demo/large", "--home", str(store.home)]) == 0
    assert main(["rm", job.release, "--home", str(store.home)]) == 0


def test_a_release_whose_publishing_left_no_record_is_kept_and_mended(manifest: Path, store: Store, job: Job) -> None:
    for path in (store.home / "store" / "publish").glob("*/record.json"):
        path.write_text("")
    manifest.unlink()
    assert main(["gc", "--yes", "--home", str(store.home)]) == 0
    damaged("a byte of the weights", store, job)
    assert [(bool(one.damage), one.lost) for one in repair(store, [])] == [(True, ())]
    verify(Local("", store.home), job.release)
