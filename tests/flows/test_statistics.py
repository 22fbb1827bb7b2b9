"""Statistics of activations: collected with the first artifact of a model and a text, and read for those that come after."""

from pathlib import Path

import pytest

from flows.execution.garbage import _of_job
from flows.execution.steps import known, note
from flows.planning.jobs import Job
from flows.planning.kinds import STATISTICS, Documents
from flows.planning.plan import plan, read
from flows.planning.statistics import statistics_of
from flows.store import Store
from flows.tasks import _make
from quantizers.request import Request
from tests.flows.conftest import room

TARGETS = """\
model: {source: ./model, name: docstring-llama}
calibration: {files: [calibration.jsonl], samples: 8, tokens: 64}
evaluation: {files: [evaluation.jsonl], tokens: 64, documents: 16}
targets:
  aware: {format: openvino, engine: nncf, group_size: 64, transform: awq}
  corrected: {format: openvino, engine: nncf, group_size: 32, nncf: {lora_rank: 8}}
  nearest: {format: openvino, engine: nncf, group_size: 64}
  ours: {group_size: 64, transform: awq}
publish: {to: local, namespace: demo}
"""


@pytest.fixture
def jobs(tmp_path: Path) -> dict[str, Job]:
    manifest = room(tmp_path)
    manifest.write_text(TARGETS)
    return {each.job.target.name: each.job for each in plan(read([manifest]), Store(tmp_path / "home")).jobs}


def test_recipes_of_one_text_share_what_they_go_by(jobs: dict[str, Job], tmp_path: Path) -> None:
    steps = {name: statistics_of(job, job.target.rungs[0]) for name, job in jobs.items()}
    assert steps["aware"] and steps["aware"] == steps["corrected"] and not steps["nearest"] and not steps["ours"]
    (entry,) = [entry for entry in _of_job(jobs["aware"], Store(tmp_path / "home")) if entry.kind is STATISTICS]
    assert entry == steps["aware"], "garbage collection keeps it as long as a job may read it"
    manifest = jobs["aware"].manifest.path
    manifest.write_text(TARGETS.replace("samples: 8", "samples: 9"))
    (other,) = [each.job for each in plan(read([manifest]), Store(tmp_path / "home"), targets=["aware"]).jobs]
    assert statistics_of(other, other.target.rungs[0]) != steps["aware"]


@pytest.mark.slow
@pytest.mark.xdist_group("nncf")
def test_the_second_artifact_reads_what_the_first_collected(jobs: dict[str, Job], tmp_path: Path) -> None:
    store, aware, corrected = Store(tmp_path / "home"), jobs["aware"], jobs["corrected"]
    text = (aware.manifest.path.parent / "calibration.jsonl").read_text()
    assert aware.calibration
    note(store, aware.calibration, Documents(documents=1, characters=1), {"documents.jsonl": text})
    step = statistics_of(aware, aware.target.rungs[0])
    assert step
    for job in (aware, corrected):
        _make([(job, job.target.rungs[0])], job.target.name, store)
        record = known(store, step)
        assert record and record.result.rows == 8
    asked = [
        Request.model_validate_json((store.directory(job.quantize(job.target.rungs[0])) / "request.json").read_bytes())
        for job in (aware, corrected)
    ]
    assert [each.statistics for each in asked] == [None, store.out(step)]
    assert (
        str(tmp_path)
        not in (store.out(corrected.quantize(corrected.target.rungs[0])) / "openvino_model.xml").read_text()
    )
    damaged = next(store.out(step).rglob("*.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    assert known(store, step) is None, "a flipped bit is seen before it is read, and they are collected anew"
