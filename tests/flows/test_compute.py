"""`compute: auto` is resolved while planning, from the flags of the CPU, and stands in keys, records and requests."""

from pathlib import Path
from typing import Any

import pytest

from flows.execution import requests
from flows.planning.jobs import Job
from flows.planning.plan import plan, read
from flows.store import Store
from tests.flows.conftest import room

FLAGS = {"bfloat16": frozenset({"avx512_bf16"}), "float32": frozenset({"avx512f"})}


def jobs_on(flags: frozenset[str], manifest: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Job]:
    monkeypatch.setattr("quantizers.hardware.compute_dtype.cpu_flags", lambda: flags)
    jobs = plan(read([manifest]), Store(manifest.parent / "home")).jobs
    return {planned.job.target.name: planned.job for planned in jobs}


def searching(tmp_path: Path, calibration: str = "") -> Path:
    """The demo's manifest with a calibrated target, a search and one that reads no text."""
    manifest = room(tmp_path)
    text = manifest.read_text().replace("samples: 64", f"samples: 64{calibration}")
    manifest.write_text(text.replace("  nf4: nf4", "  mixed: {preset: w4-rtn-g64, auto: {max_kld: 0.01}}"))
    return manifest


def calibrations(job: Job, store: Store) -> list[Any]:
    """What keys and requests of the job's quantizing step, or of its search, say of the calibration."""
    if search := job.target.search:
        return [job.sensitivity(search).inputs["calibration"], dict(requests.sensitivity(job, store).calibration)]
    rung = job.target.rungs[0]
    asked = requests.quantize([(job, rung)], store).calibration
    assert asked
    return [job.quantize(rung).inputs["calibration"], dict(asked)]


@pytest.mark.parametrize("target", ["int4-awq", "mixed"])
def test_what_auto_stands_for_is_in_key_and_request(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, store, keys = searching(tmp_path), Store(tmp_path / "home"), set()
    for dtype, flags in FLAGS.items():
        job = jobs_on(flags, manifest, monkeypatch)[target]
        assert [said["compute"] for said in calibrations(job, store)] == [dtype, dtype]
        assert job.ingredients()["calibration.compute"] == dtype
        keys.add(job.sensitivity(job.target.search).key if job.target.search else job.quantize(job.target.rungs[0]).key)
    assert len(keys) == 2


@pytest.mark.parametrize("dtype", FLAGS)
def test_a_dtype_that_is_named_has_one_key_on_every_cpu_and_it_is_that_of_auto(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = searching(tmp_path)
    auto = jobs_on(FLAGS[dtype], manifest, monkeypatch)["int4-awq"]
    manifest.write_text(manifest.read_text().replace("samples: 64", f"samples: 64, compute: {dtype}"))
    named = [jobs_on(flags, manifest, monkeypatch)["int4-awq"] for flags in FLAGS.values()]
    assert {job.quantize(job.target.rungs[0]).key for job in (auto, *named)} == {
        auto.quantize(auto.target.rungs[0]).key
    }


def test_a_recipe_that_reads_no_text_has_one_key_on_every_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = searching(tmp_path)
    jobs = [jobs_on(flags, manifest, monkeypatch)["int4"] for flags in FLAGS.values()]
    assert len({job.quantize(job.target.rungs[0]).key for job in jobs}) == 1


def test_the_device_is_in_key_and_request_and_chooses_with_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs_on(FLAGS["float32"], searching(tmp_path, ", device: cuda"), monkeypatch)["int4-awq"]
    for said in calibrations(job, Store(tmp_path / "home")):
        assert (said["device"], said["compute"]) == ("cuda", "bfloat16")
