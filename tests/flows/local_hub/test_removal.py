"""What is removed from store and hub: what nothing needs, and what a user takes away."""

import json
import os
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
from flows.planning.memory import claim
from flows.planning.plan import plan_job
from flows.store import Store
from publishers.destinations.destination import Release
from publishers.destinations.local import Local
from publishers.request import Draft, Source
from publishers.stage import stage
from publishers.verify import verify
from tests.flows.local_hub.conftest import find, flip, job_of
from tests.flows.results import artifact, milled, release, repository
from tests.publishers.conftest import EVIDENCE as MEASURED
from tests.publishers.conftest import SUMMARY, subject_of


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
