"""Damage in the store and in the local hub is noticed and mended, and names mean one thing."""

import json
from pathlib import Path

import pytest

from flows.cli.app import main
from flows.execution.repair import repair
from flows.planning.jobs import Job
from flows.planning.kinds import BASELINE, EVIDENCE, PUBLISH, QUANTIZE, TEXTS, VERDICT
from flows.planning.plan import plan, plan_job, read
from flows.reports.report import render
from flows.store import Store
from publishers.destinations.local import Local
from publishers.verify import verify
from tests.flows.local_hub.conftest import DAMAGES, damaged, find, flip, job_of, rollback
from tests.flows.results import milled, release, repository


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


def test_a_release_whose_publishing_left_no_record_is_kept_and_mended(manifest: Path, store: Store, job: Job) -> None:
    for path in (store.home / "store" / "publish").glob("*/record.json"):
        path.write_text("")
    manifest.unlink()
    assert main(["gc", "--yes", "--home", str(store.home)]) == 0
    damaged("a byte of the weights", store, job)
    assert [(bool(one.damage), one.lost) for one in repair(store, [])] == [(True, ())]
    verify(Local("", store.home), job.release)
